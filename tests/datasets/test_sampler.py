"""The order of the images, over iterations, ranks and workers."""

import hashlib
import tracemalloc
from collections import Counter, defaultdict
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.cluster_dataset import ClusterDataset
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.sampler import ClusterAwareSampler
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.engine.training import check_clusters
from sdr_mm.engine.work_dir import _clusters
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.space import SUPERNET, SubnetSpace


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('sdr_mm')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tmp_path_factory.mktemp('images')


def make_dataset(root, sizes, shuffle=0, pipeline=()):
    """A real data set with clusters of these sizes, whose files need not exist as long as none is read."""
    names = [f'{i}.png' for i in range(sum(sizes))]
    (root / 'list.txt').write_text('\n'.join(names))
    num_groups = round(len(sizes)**0.5)
    space = SubnetSpace(num_groups, 2)
    assignment = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(shuffle).shuffle(assignment)
    clusters = Clusters(assignment, np.ones((len(sizes), 2), np.float32), np.array(space.paths), num_groups,
                        fingerprint(names), 'random')
    return ClusterDataset(ImageFolder(str(root), ann_file='list.txt', pipeline=pipeline), clusters)


def make_sampler(dataset, batch_size, rank=0, world_size=1, seed=0, **schedule):
    sampler = ClusterAwareSampler(DefaultSampler(dataset, seed=seed), batch_size, rank, world_size)
    if schedule:
        sampler.set_schedule(PhaseSchedule(dataset.space, **schedule))
    return sampler


def walk(sampler, iterations, start=0):
    """Batches of so many iterations, epoch after epoch."""
    batches = []
    while len(batches) < iterations:
        sampler.start(start + len(batches))
        batches += sampler
    return batches[:iterations]


SIZES = st.lists(st.integers(1, 9), min_size=4, max_size=4)
SCHEDULES = st.sampled_from([{}, dict(supernet_prob=0.3), dict(joint=True), dict(phase_iters=(0, 0, 0))])


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, batch_size=st.integers(1, 4), world_size=st.integers(1, 3), seed=st.integers(0, 2**31),
       options=SCHEDULES)
def test_every_pass_of_every_network_has_each_of_its_images_once(root, sizes, batch_size, world_size, seed, options):
    dataset = make_dataset(root, sizes)
    streams, shares = defaultdict(list), defaultdict(list)
    ranks = [
        walk(make_sampler(dataset, batch_size, rank, world_size, seed, num_iters=30, **options), 45)
        for rank in range(world_size)]
    for batches in zip(*ranks):
        networks = [[network for _, network, _ in batch] for batch in batches]
        assert all(other == networks[0] for other in networks), 'the ranks draw the same networks'
        for rank, batch in enumerate(batches):
            assert len(batch) == batch_size * len(set(networks[0]))
            for image, network, _ in batch:
                streams[network].append(image)
                shares[network].append(rank)
    assert SUPERNET in streams and len(streams) > 1
    for network, stream in streams.items():
        members = sorted(dataset.members(network).tolist())
        passes = [stream[i:i + len(members)] for i in range(0, len(stream), len(members))]
        for one in passes[:-1]:
            assert sorted(one) == members, 'an image comes once in a pass, on one rank only'
        assert len(set(passes[-1])) == len(passes[-1])
        if len(members) > 6 and len(passes) > 2:
            assert any(one != passes[0] for one in passes[1:-1]), 'each pass is shuffled again'


@settings(max_examples=20, deadline=None)
@given(sizes=SIZES, batch_size=st.integers(1, 4), start=st.integers(0, 60), options=SCHEDULES)
def test_starting_anywhere_gives_what_walking_there_gives(root, sizes, batch_size, start, options):
    dataset = make_dataset(root, sizes)
    walked = walk(make_sampler(dataset, batch_size, num_iters=40, **options), 70)
    fresh = make_sampler(dataset, batch_size, num_iters=40, **options)
    assert walk(fresh, 10, start) == walked[start:start + 10]
    assert walk(fresh, 70) == walked, 'nothing is remembered'


def test_ranks_joined_are_the_batch_of_one_process(root):
    dataset = make_dataset(root, [20, 20, 20, 20])
    ranks = [walk(make_sampler(dataset, 4, rank, 3, num_iters=30), 40) for rank in range(3)]
    assert [list(chain(*batches)) for batches in zip(*ranks)] == walk(make_sampler(dataset, 12, num_iters=30), 40)


def test_an_epoch_ends_where_the_whole_data_set_was_seen(root):
    dataset = make_dataset(root, [5, 6, 7, 8])
    sampler = make_sampler(dataset, 4, world_size=2, num_iters=10)
    assert len(sampler) == 26 // 8
    sampler.start(4)
    assert len(list(sampler)) == 2
    sampler.set_epoch(2)
    assert sampler.iteration == 6 and len(list(sampler)) == 3
    assert len(make_sampler(dataset, 30)) == 1


def test_images_of_no_cluster_are_never_drawn(root):
    names = [f'{i}.png' for i in range(12)]
    (root / 'list.txt').write_text('\n'.join(names))
    assignment = np.arange(12) % 5 - 1
    clusters = Clusters(assignment, np.ones((4, 2), np.float32), np.array(SubnetSpace(2, 2).paths), 2,
                        fingerprint(names), 'random')
    sampler = make_sampler(ClusterDataset(ImageFolder(str(root), ann_file='list.txt'), clusters), 2, num_iters=50)
    drawn = {image for batch in walk(sampler, 50) for image, _, _ in batch}
    assert drawn == set(np.flatnonzero(assignment >= 0).tolist())


def clusters_with_gaps():
    """Clusters of 200 images, of which some are in none, with paths in another order than their numbers."""
    random = np.random.default_rng(4)
    names = [f'{i}.png' for i in range(200)]
    paths = random.permutation(np.array(SubnetSpace(2, 2).paths))
    return names, Clusters(random.integers(-1, 4, 200), np.ones((4, 2), np.float32), paths, 2, fingerprint(names),
                           'random')


def all_batches(dataset):
    """Of two ranks and two schedules."""
    return [walk(make_sampler(dataset, 5, rank, 2, seed=9, num_iters=60, **options), 80)
            for options in (dict(), dict(joint=True)) for rank in range(2)]


@pytest.mark.parametrize('share_images, digest', [
    (False, '9543a382496baa444d36db67e1000623f40c1d6118b651f92b1ab0ef050bcc99'),
    (True, 'e5361be8ebb356d0edfc500dc2a87f093692e3a887b254c397f1039480043ed8')])
def test_a_file_an_older_one_and_clusters_in_memory_give_the_batches_that_a_sorted_assignment_gave(
        root, tmp_path, monkeypatch, share_images, digest):
    names, clusters = clusters_with_gaps()
    (root / 'list.txt').write_text('\n'.join(names))
    clusters.save(tmp_path / 'new.npz')
    fields = 'assignment', 'centroids', 'paths', 'num_groups', 'fingerprint', 'method'
    np.savez_compressed(tmp_path / 'old.npz', format=np.array('sdr_mm clusters 1'),
                        **{name: np.asarray(getattr(clusters, name)) for name in fields})
    owner = np.where(clusters.assignment < 0, -1, clusters.subnets[clusters.assignment])
    order = np.argsort(owner, kind='stable')[(owner < 0).sum():]
    lists = {network: order if share_images or network == SUPERNET else order[owner[order] == network]
             for network in range(-1, 4)}

    class SortedOnce:
        space = clusters.space

        def __len__(self):
            return len(names)

        def size(self, network):
            return len(lists[network])

        def take(self, network, places):
            return lists[network][places]

    wanted = all_batches(SortedOnce())
    assert hashlib.sha256(repr(wanted).encode()).hexdigest() == digest, 'as it was before clusters stayed in the file'
    for source in (clusters, str(tmp_path / 'new.npz'), str(tmp_path / 'old.npz')):
        images = ImageFolder(str(root), ann_file='list.txt')
        dataset = ClusterDataset(images, source, share_images=share_images)
        assert all_batches(dataset) == wanted
        content = hashlib.sha256(repr(clusters.space).encode())
        for network in [SUPERNET] if share_images else range(4):
            content.update(str(len(lists[network])).encode() + lists[network].astype(np.int64).tobytes())
            assert dataset.members(network).tolist() == lists[network].tolist()
        assert _clusters(dataset) == content.hexdigest(), 'a run is known by the same hash'


def test_neither_the_data_set_nor_the_checks_before_a_training_read_the_clusters_whole(root, tmp_path, monkeypatch):
    names, clusters = clusters_with_gaps()
    (root / 'list.txt').write_text('\n'.join(names))
    file = str(tmp_path / 'clusters.npz')
    clusters.save(file)
    monkeypatch.setattr('sdr_mm.stored_array.StoredArray.read_all', lambda self: pytest.fail('it was read whole'))
    monkeypatch.setattr('sdr_mm.stored_array.StoredArray.read', lambda *args: pytest.fail('it was read in order'))
    dataset = ClusterDataset(ImageFolder(str(root), ann_file='list.txt'), file)
    sampler = make_sampler(dataset, 5, num_iters=20)
    sampler.check()
    assert len(walk(sampler, 20)) == 20
    model = SimpleNamespace(backbone=SimpleNamespace(space=SubnetSpace(2, 2)))
    cfg = SimpleNamespace(train_dataloader=dict(dataset=dict(clusters=file)))
    check_clusters(SimpleNamespace(cfg=cfg, model=model))
    model.backbone.space = SubnetSpace(3, 2)
    with pytest.raises(InputError, match='4 clusters .* for 9 sub-nets'):
        check_clusters(SimpleNamespace(cfg=cfg, model=model))


def test_a_batch_that_meets_damage_in_the_file_is_one_line(root, tmp_path):
    names, clusters = clusters_with_gaps()
    (root / 'list.txt').write_text('\n'.join(names))
    clusters.save(tmp_path / 'c.npz')
    arrays = dict(np.load(tmp_path / 'c.npz'))
    arrays['order'][150] = 201
    np.savez(tmp_path / 'c.npz', **arrays)
    dataset = ClusterDataset(ImageFolder(str(root), ann_file='list.txt'), str(tmp_path / 'c.npz'))
    line = r'c\.npz is damaged: for sub-net \d it lists images .*201.* around place 1[45]\d'
    with pytest.raises(InputError, match=line) as found:
        walk(make_sampler(dataset, 5, num_iters=20), 60)
    assert '\n' not in str(found.value)


def test_the_supernet_alone_is_trained_until_there_is_a_schedule(root):
    sampler = make_sampler(make_dataset(root, [5, 5, 5, 5]), 4)
    first = list(sampler)
    batches = walk(sampler, 10)
    assert first == batches[:5]  # A new one begins at the start.
    assert {network for batch in batches for _, network, _ in batch} == {SUPERNET}
    assert Counter(image for batch in batches for image, _, _ in batch) == Counter(dict.fromkeys(range(20), 2))


def test_iterations_train_the_network_that_the_schedule_draws(root):
    dataset = make_dataset(root, [8] * 16)
    schedule = PhaseSchedule(dataset.space, 60)
    sampler = make_sampler(dataset, 8, seed=3, num_iters=60)
    networks = [batch[0][1] for batch in walk(sampler, 60)]
    assert networks == schedule.networks(3, 0, 60).tolist()
    for network, batch in zip(networks, walk(sampler, 60)):
        assert {image for image, _, _ in batch} <= set(dataset.members(network).tolist())


def test_a_joint_iteration_has_the_supernets_batch_first_and_then_the_subnets(root):
    dataset = make_dataset(root, [6, 6, 6, 6])
    joint = walk(make_sampler(dataset, 4, num_iters=30, joint=True), 30)
    alone = walk(make_sampler(dataset, 4), 30)
    assert [batch[:4] for batch in joint] == alone
    assert all(len(batch) == 4 for batch in joint[:10])
    for batch in joint[10:]:
        networks = {network for _, network, _ in batch[4:]}
        assert len(batch) == 8 and len(networks) == 1 and networks <= set(range(4))


def test_no_two_draws_have_the_same_seed(root):
    batches = walk(make_sampler(make_dataset(root, [6, 6, 6, 6]), 4, num_iters=200, joint=True), 300)
    seeds = [seed for batch in batches for _, _, seed in batch]
    assert len(set(seeds)) == len(seeds)
    assert all(type(value) is int and -1 <= value < 2**63 for batch in batches for triple in batch for value in triple)


def test_seeds_order_the_images_differently(root):
    dataset = make_dataset(root, [50, 50, 50, 50])
    first, second = (walk(make_sampler(dataset, 10, seed=seed), 5) for seed in (1, 2))
    assert first != second


def test_memory_of_a_batch_does_not_grow_with_the_images():
    n = 2_000_000
    # All that the sampler asks of its data set.
    dataset = SimpleNamespace(space=SubnetSpace(4, 4), size=lambda network: n, take=lambda network, places: places)
    sampler = make_sampler_of(dataset)
    sampler.start(300_000)
    tracemalloc.start()
    batches = list(islice(sampler, 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(batches) == 3 and peak < 1 << 20


def make_sampler_of(dataset):
    sampler = ClusterAwareSampler(SimpleNamespace(dataset=dataset, seed=0), 64)
    sampler.set_schedule(PhaseSchedule(dataset.space, 400_000))
    return sampler


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(folder / f'{i}.png')
    return folder


PIPELINE = [
    dict(type='LoadImage'),
    dict(
        type='MultiView',
        num_views=2,
        transforms=[[
            dict(type='RandomResizedCrop', scale=6),
            dict(type='ColorJitter', brightness=0.4, contrast=0.4),
            dict(type='RandomFlip', prob=0.5),
        ]]),
    dict(type='PackInputs'),
]


def loaded(pictures, num_workers, seed=5, **options):
    """Two epochs through MMEngine's loader, the first from its second iteration on."""
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=num_workers,
            drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_sampler=dict(type='ClusterAwareSampler'),
            collate_fn=dict(type='default_collate'),
            dataset=make_dataset(pictures, [6, 6, 6, 6], pipeline=PIPELINE),
            **options),
        seed=seed)
    loader.batch_sampler.set_schedule(PhaseSchedule(loader.dataset.space, 12, joint=True))
    batches = []
    for start in (1, 6):
        loader.batch_sampler.start(start)
        batches += loader
    return [(torch.stack(batch['inputs']), [(sample.sample_idx, sample.network) for sample in batch['data_samples']])
            for batch in batches]


def test_pixels_do_not_depend_on_the_workers(pictures):
    expected = loaded(pictures, 0)
    assert len(expected) == 5 + 6 and len(expected[0][1]) == 4 and len(expected[-1][1]) == 8
    for options in (dict(num_workers=1), dict(num_workers=4), dict(num_workers=2, persistent_workers=True)):
        batches = loaded(pictures, **options)
        assert [samples for _, samples in batches] == [samples for _, samples in expected], options
        assert all(torch.equal(ours, theirs) for (ours, _), (theirs, _) in zip(batches, expected)), options
    assert not torch.equal(loaded(pictures, 0, seed=6)[0][0], expected[0][0])


def test_a_cluster_smaller_than_a_batch_over_all_ranks_is_refused(root):
    dataset = make_dataset(root, [8, 8, 5, 8])
    make_sampler(dataset, 5).check()
    with pytest.raises(InputError, match='cluster 2 has 5 images, fewer than a batch of 6 over all ranks'):
        make_sampler(dataset, 3, world_size=2).check()
