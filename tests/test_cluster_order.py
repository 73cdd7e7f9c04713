"""The images sorted by sub-net: the order of NumPy's stable sort, and nothing else, whatever the file holds."""

import io
import pickle
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest

from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.space import SUPERNET, SubnetSpace


def make(assignment, groups=2, blocks=2, shuffle=None):
    paths = np.array(SubnetSpace(groups, blocks).paths)
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(paths)
    return Clusters(np.asarray(assignment), np.ones((len(paths), 2)), paths, groups, fingerprint(['a']), 'random')


def sorted_by_numpy(clusters):
    """The images of each network, the super-net first, as sorting the whole assignment gives them."""
    owner = np.where(clusters.assignment < 0, -1, clusters.subnets[clusters.assignment])
    everyone = np.argsort(owner, kind='stable')[(owner < 0).sum():]
    return {SUPERNET: everyone, **{subnet: everyone[owner[everyone] == subnet] for subnet in clusters.subnets.tolist()}}


def taken(clusters):
    order = clusters.order
    return {network: order.take(network, np.arange(order.size(network)))
            for network in [SUPERNET, *clusters.subnets.tolist()]}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for network, images in wanted.items():
        assert found[network].dtype == np.int64
        np.testing.assert_array_equal(found[network], images)


def save_as_before(clusters, file):
    """What the first version wrote."""
    names = 'assignment', 'centroids', 'paths', 'num_groups', 'fingerprint', 'method'
    np.savez_compressed(file, format=np.array('sdr_mm clusters 1'),
                        **{name: np.asarray(getattr(clusters, name)) for name in names})


@pytest.mark.parametrize('seed', range(6))
def test_the_order_is_that_of_a_stable_sort_in_memory_in_the_file_and_of_an_old_file(tmp_path, monkeypatch, seed):
    monkeypatch.setattr('sdr_mm.cluster_order.CHUNK', 7)
    monkeypatch.setattr('sdr_mm.stored_array.CHUNK', 11)
    random = np.random.default_rng(seed)
    groups, count = (2, 60) if seed % 2 else (4, 300)
    clusters = make(random.integers(-1, groups ** 2, count), groups, shuffle=seed if seed > 1 else None)
    wanted = sorted_by_numpy(clusters)
    assert_same(taken(clusters), wanted)
    clusters.save(tmp_path / 'new.npz')
    save_as_before(clusters, tmp_path / 'old.npz')
    for name in ('new', 'old'):
        opened = Clusters.open(tmp_path / f'{name}.npz')
        assert ('assignment' in vars(opened)) == (name == 'old'), 'it is read when somebody asks for it'
        assert opened.num_images == count and opened.sizes().tolist() == clusters.sizes().tolist()
        assert_same(taken(opened), wanted)
        for network, images in wanted.items():
            np.testing.assert_array_equal(np.concatenate([[], *opened.order.chunks(network)]), images)
        for part in ('assignment', 'centroids', 'paths'):
            for other in (opened, Clusters.load(tmp_path / f'{name}.npz')):
                np.testing.assert_array_equal(getattr(other, part), getattr(clusters, part))
                assert getattr(other, part).dtype == getattr(clusters, part).dtype
        assert opened.in_path_order().order.images.tolist() == wanted[SUPERNET].tolist()


def test_empty_clusters_and_images_of_no_cluster_leave_gaps_for_nobody(tmp_path):
    for assignment in ([-1, 2, -1, 2], [0], [3, -1], [-1, -1], []):
        clusters = make(np.array(assignment, dtype=int))
        clusters.save(tmp_path / 'c.npz', overwrite=True)
        assert_same(taken(Clusters.open(tmp_path / 'c.npz')), sorted_by_numpy(clusters))


def test_the_file_has_the_smallest_types_and_numpy_reads_it(tmp_path):
    for count, groups, small, signed in ((250, 2, 'uint8', 'int8'), (300, 16, 'uint16', 'int16'),
                                         (70_000, 2, 'uint32', 'int8')):
        clusters = make(np.arange(count) % groups ** 2, groups)
        clusters.save(tmp_path / 'c.npz', overwrite=True)
        with np.load(tmp_path / 'c.npz') as arrays, zipfile.ZipFile(tmp_path / 'c.npz') as archive:
            assert (arrays['order'].dtype, arrays['assignment'].dtype) == (small, signed)
            assert arrays['order'].tolist() == sorted_by_numpy(clusters)[SUPERNET].tolist()
            assert arrays['sizes'].tolist() == clusters.sizes().tolist()
            kinds = {info.filename: info.compress_type for info in archive.infolist()}
        assert {name for name, kind in kinds.items() if kind == zipfile.ZIP_STORED} == {'order.npy', 'assignment.npy'}
    first = (tmp_path / 'c.npz').read_bytes()
    clusters.save(tmp_path / 'c.npz', overwrite=True)
    assert (tmp_path / 'c.npz').read_bytes() == first


CLUSTERS = make([3, 0, 1, 2, 3, 0, 1, 2, -1, 1, 0, 3, 2, 2], shuffle=1)


def damaged(tmp_path, packed=(), **changes):
    """The clusters with other arrays, in a file of sound checksums."""
    CLUSTERS.save(tmp_path / 'good.npz', overwrite=True)
    arrays = {**np.load(tmp_path / 'good.npz'), **changes}
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w') as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f'{name}.npy', content.getvalue(),
                             zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED)
    return tmp_path / 'x.npz'


def right_or_refused(file, exact=True):
    """How often places are refused, one by one; all of them if the file is.

    The others have the image that belongs there, or, unless it must be exact, another one of the same network.
    """
    wanted, refused = sorted_by_numpy(CLUSTERS), 0
    try:
        opened = Clusters.open(file)
    except InputError as error:
        assert str(file) in str(error) and '\n' not in str(error)
        return sum(map(len, wanted.values()))
    for network, images in wanted.items():
        for place in range(opened.order.size(network)):
            try:
                found = opened.order.take(network, np.array([place])).item()
                assert found == images[place] if exact else found in images
            except InputError as error:
                refused += 1
                assert str(file) in str(error) and '\n' not in str(error)
    return refused


ORDER = sorted_by_numpy(CLUSTERS)[SUPERNET]
SIZES = CLUSTERS.sizes()


def changed(array, place, value):
    array = np.array(array, dtype=np.int64 if value < 0 else np.uint64)
    array[place] = value
    return array


@pytest.mark.parametrize('changes, message', [
    (dict(order=ORDER[:-1]), '13 images together, do not fit 4 clusters with 12 of 14'),
    (dict(order=np.append(ORDER, ORDER)), '13 images together, do not fit 4 clusters with 26 of 14'),
    (dict(order=np.zeros(0, np.uint8)), 'do not fit 4 clusters with 0 of 14'),
    (dict(order=ORDER[None]), 'damaged'),
    (dict(order=ORDER.astype(float)), 'damaged'),
    (dict(order=ORDER > 3), 'damaged'),
    (dict(order=np.array([None] * 13)), 'damaged'),
    (dict(order=np.array(3)), 'damaged'),
    (dict(sizes=SIZES[:-1]), '3 sizes of the clusters'),
    (dict(sizes=SIZES + [1, -1, 0, 1]), 'with 14 images together'),
    (dict(sizes=SIZES - [SIZES[0] + 1, 0, 0, -SIZES[0] - 1]), '4 sizes of the clusters, with 13'),
    (dict(sizes=np.array([2**62, 2**62, 2**62, 2**62 + 13])), '18446744073709551629 images together'),
    (dict(sizes=SIZES.astype(float)), 'sizes of the clusters must have 1 dimension'),
    (dict(assignment=CLUSTERS.assignment[:12]), '13 of 12 images'),
    (dict(assignment=CLUSTERS.assignment.astype(float)), 'damaged'),
    (dict(packed=['order']), 'order.npy is packed.*make the file again'),
    (dict(packed=['assignment']), 'assignment.npy is packed.*make the file again'),
])
def test_what_cannot_be_is_refused_at_the_start(tmp_path, changes, message):
    file = damaged(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        Clusters.open(file)
    assert str(file) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('order', [
    changed(ORDER, 4, 14), changed(ORDER, 4, 2**63), changed(ORDER, 0, -1), changed(ORDER, 12, -14),
    changed(ORDER, 2, ORDER[1]), changed(ORDER, 1, ORDER[2]), changed(ORDER, 2, ORDER[7]), changed(ORDER, 5, 8),
    ORDER[::-1], np.roll(ORDER, 1), np.zeros(13, np.uint8), ORDER[[1, 0, *range(2, 13)]]])
def test_a_place_that_names_no_image_another_ones_or_one_twice_is_refused_when_it_is_used(tmp_path, order):
    assert not np.array_equal(order, ORDER)
    file = damaged(tmp_path, order=order)
    single = (order != ORDER).sum() == 1
    refused = right_or_refused(file, exact=single)
    assert refused >= 2, 'in its sub-net and in the super-net'
    assert refused <= 6 or not single, 'the neighbors too, and nobody else'
    with pytest.raises(InputError, match=r'x\.npz is damaged: for sub-net \d it lists images'):
        taken(Clusters.open(file))
    with pytest.raises(InputError, match='damaged'):
        Clusters.open(file).order.take(SUPERNET, np.arange(13))


def test_sizes_and_assignments_that_differ_are_refused_when_they_are_used(tmp_path):
    swapped = SIZES[np.argsort(-SIZES)] if SIZES[0] != SIZES.max() else SIZES[::-1]
    assert swapped.tolist() != SIZES.tolist()
    file = damaged(tmp_path, sizes=swapped)
    with pytest.raises(InputError, match='damaged'):
        taken(Clusters.open(file))
    with pytest.raises(InputError, match='the assignment and the sizes of the clusters differ'):
        Clusters.open(file).assignment  # noqa: B018
    for value in (4, -2, 100):
        file = damaged(tmp_path, assignment=changed(CLUSTERS.assignment, 3, value).astype(np.int16))
        assert right_or_refused(file)
        with pytest.raises(InputError, match='the assignment has values from'):
            Clusters.open(file).assignment  # noqa: B018


def test_no_flipped_bit_in_the_images_is_used_in_silence(tmp_path):
    CLUSTERS.save(tmp_path / 'c.npz')
    whole, noticed = (tmp_path / 'c.npz').read_bytes(), 0
    assert right_or_refused(tmp_path / 'c.npz') == 0
    with zipfile.ZipFile(tmp_path / 'c.npz') as archive:
        places = [archive.getinfo(f'{name}.npy').header_offset for name in ('assignment', 'order')]
        places.append(archive.start_dir)
    assert places == sorted(places)
    for number in range(8 * places[0], 8 * places[-1], 5):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        (tmp_path / 'x.npz').write_bytes(flipped)
        noticed += right_or_refused(tmp_path / 'x.npz') > 0
    assert noticed > 8 * 2 * 14 / 5


def test_a_wrong_place_in_the_directory_is_refused(tmp_path):
    CLUSTERS.save(tmp_path / 'c.npz')
    whole = (tmp_path / 'c.npz').read_bytes()
    with zipfile.ZipFile(tmp_path / 'c.npz') as archive:
        place = archive.getinfo('order.npy').header_offset.to_bytes(4, 'little')
    for other in (0, 1, 2**31):
        (tmp_path / 'x.npz').write_bytes(whole.replace(place, other.to_bytes(4, 'little')))
        with pytest.raises(InputError, match='damaged'):
            Clusters.open(tmp_path / 'x.npz')


def test_a_file_that_is_cut_replaced_or_written_over_in_use_gives_no_other_image(tmp_path):
    file = tmp_path / 'c.npz'
    CLUSTERS.save(file)
    opened, other = Clusters.open(file), make(CLUSTERS.assignment[::-1])
    copy = pickle.dumps(opened.order)
    assert_same(taken(opened), sorted_by_numpy(CLUSTERS))
    other.save(file, overwrite=True)
    assert_same(taken(opened), sorted_by_numpy(CLUSTERS))  # It still has the file that it opened.
    with pytest.raises(InputError, match=r'c\.npz was changed while it was in use'):
        pickle.loads(copy).take(0, np.array([0]))
    opened = Clusters.open(file)
    taken(opened)
    with open(file, 'r+b') as cut:
        cut.truncate(100)
    with pytest.raises(InputError, match=r'c\.npz was changed while it was in use'):
        taken(opened)


def test_a_copy_in_another_process_reads_the_same_and_carries_no_images(tmp_path):
    clusters = make(np.arange(100_000) % 4)
    clusters.save(tmp_path / 'c.npz')
    order = Clusters.open(tmp_path / 'c.npz').order
    order.take(0, np.array([5]))
    assert len(pickle.dumps(order)) < 4000
    assert pickle.loads(pickle.dumps(order)).take(3, np.array([7, 0])).tolist() == [31, 3]
    shutil.move(tmp_path / 'c.npz', tmp_path / 'd.npz')
    assert order.take(3, np.array([7, 0])).tolist() == [31, 3]


def test_memory_of_an_opened_file_does_not_grow_with_the_images(tmp_path):
    make(np.arange(1_000_000) % 256, 4, 4).save(tmp_path / 'c.npz')
    tracemalloc.start()
    opened = Clusters.open(tmp_path / 'c.npz')
    opened.check_sizes(1, 'c.npz')
    for start in range(0, 3000, 64):
        opened.order.take(7, np.arange(start, start + 64))
    assert tracemalloc.get_traced_memory()[1] < 400_000
    tracemalloc.stop()
