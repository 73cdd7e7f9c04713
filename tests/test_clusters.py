"""``clusters.npz``: what goes in comes out, and what does not fit is refused in one line."""

import io
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from repository import ROOT

from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.space import SubnetSpace


def make(**changes):
    fields = {
        'assignment': np.array([0, 1, 3, 2, -1, 3]),
        'centroids': np.eye(4, 5, dtype=np.float32),
        'paths': np.array([[1, 1], [0, 1], [1, 0], [0, 0]]),
        'num_groups': 2,
        'fingerprint': fingerprint(['a', 'b']),
        'method': 'sinkhorn',
    }
    return Clusters(**{**fields, **changes})


def one_line(error):
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_round_trip_through_the_file_changes_nothing(tmp_path):
    clusters = make()
    clusters.save(tmp_path / 'clusters.npz')
    loaded = Clusters.load(tmp_path / 'clusters.npz')
    for name in ('assignment', 'centroids', 'paths'):
        before, after = getattr(clusters, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert (loaded.num_groups, loaded.fingerprint, loaded.method) == (2, clusters.fingerprint, 'sinkhorn')
    assert loaded.space == SubnetSpace(2, 2)
    assert loaded.sizes().tolist() == [1, 1, 1, 2]


def test_a_space_without_blocks_has_one_cluster(tmp_path):
    make(assignment=np.zeros(3, int), centroids=np.ones((1, 2), np.float32), paths=np.zeros((1, 0), int)).save(
        tmp_path / 'one.npz')
    assert Clusters.load(tmp_path / 'one.npz').space == SubnetSpace(2, 0)


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    file = tmp_path / 'clusters.npz'
    file.write_bytes(b'mine')
    with pytest.raises(InputError, match='exists already'):
        make().save(file)
    assert file.read_bytes() == b'mine'
    make().save(file, overwrite=True)
    assert Clusters.load(file).num_clusters == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ['clusters.npz']


def write(tmp_path, **arrays):
    np.savez(tmp_path / 'x.npz', **arrays)
    return tmp_path / 'x.npz'


class Marker:
    """Unpickling one leaves a trace."""

    hits = 0

    def __reduce__(self):
        return _hit, ()


def _hit():
    Marker.hits += 1
    return 0


def test_pickled_objects_in_the_file_are_not_run(tmp_path):
    # The format says that it is ours, so that the reader does look at the other arrays.
    file = write(tmp_path, format=np.array('sdr_mm clusters 1'), assignment=np.array([Marker()], dtype=object))
    with pytest.raises(InputError, match='does not hold clusters'):
        Clusters.load(file)
    assert Marker.hits == 0
    np.load(file, allow_pickle=True)['assignment']
    assert Marker.hits == 1, 'the trap works'


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04 cut'])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / 'x.npz'
    file.write_bytes(content)
    with pytest.raises(InputError, match='does not hold clusters') as error:
        Clusters.load(file)
    assert str(file) in one_line(error)


def test_missing_foreign_and_damaged_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match='there is no file'):
        Clusters.load(tmp_path / 'none.npz')
    with pytest.raises(InputError, match='there is no file'):
        Clusters.load(tmp_path)
    with pytest.raises(InputError, match='does not hold clusters'):
        Clusters.load(write(tmp_path, weights=np.zeros(3)))
    with pytest.raises(InputError, match='is of the format'):
        Clusters.load(write(tmp_path, format=np.array('sdr_mm clusters 99')))
    make().save(tmp_path / 'good.npz')
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'good.npz').read_bytes()[:-200])
    with pytest.raises(InputError, match='does not hold clusters'):
        Clusters.load(tmp_path / 'cut.npz')


@pytest.mark.parametrize('changes, message', [
    ({'num_groups': np.array(2.5)}, 'num_groups of the clusters must be one whole number'),
    ({'num_groups': np.array(-3)}, 'num_groups >= 1'),
    ({'num_groups': np.array(2**62), 'paths': np.zeros((4, 200), int)}, 'more sub-nets than can be counted'),
    ({'centroids': np.full((4, 5), np.inf, np.float32)}, 'not finite'),
    ({'fingerprint': np.array('two\nlines')}, 'names no image list'),
    ({'fingerprint': np.zeros((3, 3))}, 'names no image list'),
    ({'method': np.array('\x1b[2J')}, 'or no method'),
    ({'assignment': None}, 'does not hold clusters or is damaged'),
])
def test_values_in_the_file_that_cannot_be_are_refused_in_one_line(tmp_path, changes, message):
    make().save(tmp_path / 'good.npz')
    with np.load(tmp_path / 'good.npz') as good:
        arrays = {name: value for name, value in {**good, **changes}.items() if value is not None}
    file = write(tmp_path, **arrays)
    with pytest.raises(InputError, match=message) as error:
        Clusters.load(file)
    assert str(file) in one_line(error)


def test_an_array_that_claims_to_be_larger_than_the_file_is_refused(tmp_path):
    make().save(tmp_path / 'good.npz')
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': '<i8', 'fortran_order': False, 'shape': (1 << 46, )})
    with zipfile.ZipFile(tmp_path / 'good.npz') as good, zipfile.ZipFile(tmp_path / 'large.npz', 'w') as large:
        for name in good.namelist():
            large.writestr(name, header.getvalue() if name == 'assignment.npy' else good.read(name))
    with pytest.raises(InputError, match='does not hold clusters or is damaged') as error:
        Clusters.load(tmp_path / 'large.npz')
    one_line(error)


def test_a_bomb_is_not_unpacked(tmp_path):
    make().save(tmp_path / 'good.npz')
    with zipfile.ZipFile(tmp_path / 'good.npz') as good, zipfile.ZipFile(
            tmp_path / 'bomb.npz', 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as bomb:
        for name in good.namelist():
            if name != 'assignment.npy':
                bomb.writestr(name, good.read(name))
        with bomb.open('assignment.npy', 'w') as member:
            np.lib.format.write_array_header_1_0(member, {'descr': '<i8', 'fortran_order': False,
                                                          'shape': (40 << 17, )})
            for _ in range(40):
                member.write(bytes(1 << 20))
    loads = Clusters.load(tmp_path / 'bomb.npz')  # 40 MB may be unpacked, whatever they were packed to
    assert len(loads.assignment) == 40 << 17
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match='damaged'):
        patch.setattr('sdr_mm.zip_files.SMALL', 1 << 20)
        Clusters.load(tmp_path / 'bomb.npz')
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_no_flipped_bit_gives_other_clusters_in_silence(tmp_path):
    file = tmp_path / 'clusters.npz'
    make().save(file)
    whole, good = file.read_bytes(), vars(make())
    for number in range(0, 8 * len(whole), 3):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        file.write_bytes(flipped)
        try:
            found = vars(Clusters.load(file))
        except InputError as error:
            assert str(file) in str(error) and '\n' not in str(error)
        else:
            assert all(np.array_equal(found[name], good[name]) for name in good), number


def test_clusters_are_read_without_torch():
    code = 'import sys, sdr_mm.clusters; assert not {"torch", "mmpretrain"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


@pytest.mark.parametrize('changes, message', [
    ({'centroids': np.eye(3)}, '3 clusters with 4 paths do not fit 4 sub-nets'),
    ({'paths': np.zeros((4, 2), int)}, 'not each path of the space once'),
    ({'paths': np.array([[1, 1], [0, 1], [2, 0], [0, 0]])}, 'not each path of the space once'),
    ({'assignment': np.array([0, 4])}, 'from 0 to 4'),
    ({'assignment': np.array([-2, 1])}, 'from -2 to 1'),
    ({'assignment': np.array([0.5])}, 'assignment of the clusters must have'),
    ({'assignment': np.zeros((2, 2), int)}, 'assignment of the clusters must have'),
    ({'centroids': np.full((4, 5), np.nan)}, 'centroids of the clusters are not finite'),
    ({'centroids': np.diag([1, 1, 1, -np.inf])}, 'centroids of the clusters are not finite'),
    ({'num_groups': 2.0}, r'one whole number, got \(\) of float64'),
    ({'num_groups': True}, r'one whole number, got \(\) of bool'),
    ({'num_groups': np.array([2])}, r'one whole number, got \(1,\) of int64'),
    ({'num_groups': 0}, 'num_groups >= 1'),
])
def test_arrays_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(InputError, match=message) as error:
        make(**changes)
    one_line(error)


def test_path_order_numbers_each_cluster_like_its_sub_net():
    before = make()
    after = before.in_path_order()
    assert after.paths.tolist() == [list(path) for path in SubnetSpace(2, 2).paths]
    assert after.subnets.tolist() == [0, 1, 2, 3]
    assert after.assignment[4] == -1
    for old, new in zip(before.assignment, after.assignment):
        if old >= 0:
            assert before.paths[old].tolist() == after.paths[new].tolist()
            assert before.centroids[old].tolist() == after.centroids[new].tolist()


def test_clusters_of_another_image_list_space_or_size_are_refused():
    clusters = make()
    clusters.check_images(fingerprint(['a', 'b']), 6, 'c.npz')
    clusters.check_space(SubnetSpace(2, 2), 'c.npz')
    clusters.check_sizes(1, 'c.npz')
    with pytest.raises(InputError, match=r'^c\.npz: .*another image list') as error:
        clusters.check_images(fingerprint(['b', 'a']), 6, 'c.npz')
    one_line(error)
    with pytest.raises(InputError, match=r'^c\.npz: 6 images are assigned to clusters, but the list has 2') as error:
        clusters.check_images(fingerprint(['a', 'b']), 2, 'c.npz')
    one_line(error)
    with pytest.raises(InputError, match=r'^c\.npz: 6 images are assigned to clusters, but the list has 9') as error:
        clusters.check_images(fingerprint(['a', 'b']), 9, 'c.npz')
    one_line(error)
    with pytest.raises(InputError, match=r'4 clusters .* for 16 sub-nets .*--num-groups 4 --num-blocks 2') as error:
        clusters.check_space(SubnetSpace(4, 2), 'c.npz')
    one_line(error)
    with pytest.raises(InputError, match='for 4 sub-nets'):  # as many, but other paths
        clusters.check_space(SubnetSpace(4, 1), 'c.npz')
    with pytest.raises(InputError, match='cluster 0 has 1 images, fewer than a batch of 2') as error:
        clusters.check_sizes(2, 'c.npz')
    one_line(error)
    with pytest.raises(InputError, match='cluster 1 is empty'):
        make(assignment=np.array([0, 2, 3])).check_sizes(1, 'c.npz')
