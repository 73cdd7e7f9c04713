"""Images and the networks they belong to."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from PIL import Image

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.cluster_dataset import ClusterDataset
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.sampler import ClusterAwareSampler
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.registry import DATASETS
from sdr_mm.space import SUPERNET, SubnetSpace

NAMES = [f'{i}.png' for i in range(8)]
PIPELINE = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='MultiView',
        num_views=2,
        transforms=[[
            dict(type='RandomResizedCrop', scale=8),
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
            dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
            dict(type='RandomFlip', prob=0.5),
        ]]),
    dict(type='PackInputs'),
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('sdr_mm')


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def make_clusters(assignment, paths=((0, 0), (0, 1), (1, 0), (1, 1)), names=NAMES):
    paths = np.array(paths)
    return Clusters(
        assignment=np.array(assignment),
        centroids=np.eye(len(paths), dtype=np.float32),
        paths=paths,
        num_groups=2,
        fingerprint=fingerprint(names),
        method='random')


CLUSTERS = make_clusters([3, 0, 1, 2, 3, 0, 1, 2])


def make_dataset(folder, clusters=CLUSTERS, **options):
    images = dict(type='ImageFolder', data_root=str(folder), pipeline=PIPELINE)
    return ClusterDataset(images, clusters, **options)


def test_it_is_built_from_a_config_and_a_file_of_clusters(folder):
    CLUSTERS.save(folder / 'clusters.npz')
    images = dict(type='ImageFolder', data_root=str(folder), pipeline=PIPELINE)
    dataset = DATASETS.build(dict(type='ClusterDataset', dataset=images, clusters=str(folder / 'clusters.npz')))
    assert len(dataset) == 8 and dataset.space == SubnetSpace(2, 2)
    assert dataset.metainfo == ImageFolder(str(folder)).metainfo
    assert dataset.members(3).tolist() == [0, 4]


def test_each_network_has_the_images_of_the_cluster_on_its_path(folder):
    clusters = make_clusters([3, 0, 1, 2, 3, 0, -1, 1], paths=((1, 1), (0, 0), (0, 1), (1, 0)))
    dataset = make_dataset(folder, clusters)
    for cluster, path in enumerate(clusters.paths):
        expected = np.flatnonzero(clusters.assignment == cluster)
        assert dataset.members(dataset.space.index(path)).tolist() == expected.tolist()
    assert sorted(dataset.members(SUPERNET).tolist()) == [0, 1, 2, 3, 4, 5, 7]
    assert len(dataset) == 8


def test_with_shared_images_each_subnet_has_those_of_all_clusters_in_an_order_of_its_own(folder):
    dataset = make_dataset(folder, make_clusters([3, 0, 1, 2, 3, 0, -1, 1]), share_images=True)
    for network in (SUPERNET, 0, 1, 2, 3):
        assert sorted(dataset.members(network).tolist()) == [0, 1, 2, 3, 4, 5, 7]
    sampler = ClusterAwareSampler(DefaultSampler(dataset, seed=0), 7)
    sampler.check()
    sampler.set_schedule(PhaseSchedule(dataset.space, 30, supernet_prob=0.2, phase_iters=(0, 0, 0)))
    orders = {}
    for epoch in range(30):
        sampler.set_epoch(epoch)
        for batch in sampler:
            images, networks, _ = zip(*batch)
            assert sorted(images) == [0, 1, 2, 3, 4, 5, 7], 'a batch of seven is a pass'
            orders.setdefault(networks[0], images)
    assert orders.keys() == {SUPERNET, 0, 1, 2, 3} and len(set(orders.values())) == 5
    sampler = ClusterAwareSampler(DefaultSampler(dataset, seed=0), 8)
    with pytest.raises(InputError, match='fewer than a batch of 8'):
        sampler.check()


def test_a_lazy_data_set_reads_its_lists_when_they_are_needed(folder):
    lazy = make_dataset(folder, 'nowhere.npz', lazy_init=True)
    with pytest.raises(InputError, match='nowhere.npz'):
        lazy.full_init()
    images = ImageFolder(str(folder), lazy_init=True)
    assert ClusterDataset(images, CLUSTERS, lazy_init=True).members(0).tolist() == [1, 5]


def test_an_image_is_a_function_of_its_triple_alone(folder):
    first, second = make_dataset(folder), make_dataset(folder)
    one = first[2, 1, 77]
    first[3, 2, 5], second[0, SUPERNET, 78]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    again = second[2, 1, 77]
    assert all(torch.equal(a, b) for a, b in zip(one['inputs'], again['inputs']))
    other = second[2, 1, 78]
    assert not torch.equal(one['inputs'][0], other['inputs'][0])
    assert not torch.equal(one['inputs'][0], one['inputs'][1])


def test_every_generator_that_a_transform_may_use_follows_the_seed(folder):

    def draw(results):
        return {**results, 'draws': (random.random(), np.random.rand(), torch.rand(()).item())}

    pipeline = [*PIPELINE[:1], draw, dict(type='PackInputs', meta_keys=('draws', ))]
    dataset = ClusterDataset(ImageFolder(str(folder), pipeline=pipeline), CLUSTERS)
    one, again, other = (dataset[2, 1, seed]['data_samples'].draws for seed in (7, 7, 8))
    assert one == again and all(a != b for a, b in zip(one, other))


def test_the_network_reaches_the_data_sample(folder):
    dataset = make_dataset(folder)
    sample = dataset[2, 1, 2**63 - 1]['data_samples']
    assert (sample.network, sample.skipped, sample.sample_idx) == (1, 0, 2)
    assert {'network', 'skipped'} <= set(sample.metainfo_keys())
    assert dataset[2]['data_samples'].network == SUPERNET


def test_a_seed_reaches_the_data_sample_only_where_there_is_one(folder):
    dataset = make_dataset(folder)
    assert dataset[(2, 1, 77)]['data_samples'].seed == 77
    # With its number as the seed an image would have the same batched views in every epoch.
    assert 'seed' not in dataset[2]['data_samples'].metainfo_keys()


def test_drawing_an_image_leaves_the_generators_as_they_were(folder):
    dataset = make_dataset(folder)

    def numbers():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = numbers()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    dataset[2, 1, 77]
    assert numbers() == expected


def test_an_undecodable_image_is_replaced_by_another_of_the_same_network(folder):
    (folder / '1.png').write_text('no image')
    dataset = make_dataset(folder)
    for seed in range(5):
        sample = dataset[1, 0, seed]['data_samples']
        assert sample.sample_idx == 5 and sample.skipped >= 1 and sample.network == 0
    # The same replacement in each run, for the super-net too.
    drawn = [dataset[1, SUPERNET, seed]['data_samples'].sample_idx for seed in range(20)]
    other = make_dataset(folder)
    assert drawn == [other[1, SUPERNET, seed]['data_samples'].sample_idx for seed in range(20)]
    assert len(set(drawn)) > 3 and 1 not in drawn
    assert dataset[1]['data_samples'].skipped >= 1


def test_a_cluster_without_any_decodable_image_stops(folder):
    (folder / '1.png').write_text('no image')
    (folder / '5.png').write_text('no image')
    dataset = make_dataset(folder)
    with pytest.raises(InputError, match='in a row cannot be decoded'):
        dataset[1, 0, 7]


def test_clusters_of_another_image_list_are_refused(folder):
    make_clusters(CLUSTERS.assignment, names=[*NAMES[1:], 'x.png']).save(folder / 'clusters.npz')
    with pytest.raises(InputError, match=r'clusters\.npz: the clusters were made from another image list'):
        make_dataset(folder, str(folder / 'clusters.npz'))
    (folder / '8.png').write_bytes((folder / '0.png').read_bytes())
    with pytest.raises(InputError, match='the clusters: the clusters were made from another image list'):
        make_dataset(folder)


@pytest.mark.parametrize('assignment', [[3, 0, 1, 2, 3, 0, 1], [3, 0, 1, 2, 3, 0, 1, 2, 3]])
def test_clusters_of_more_or_fewer_images_than_the_list_has_are_refused(folder, assignment):
    make_clusters(assignment).save(folder / 'clusters.npz')
    with pytest.raises(InputError, match=rf'clusters\.npz: {len(assignment)} images are .*, but the list has 8'):
        make_dataset(folder, str(folder / 'clusters.npz'))


def test_an_empty_cluster_is_refused(folder):
    with pytest.raises(InputError, match='cluster 2 is empty'):
        make_dataset(folder, make_clusters([0, 0, 1, 1, 1, 3, 3, 3]))


def test_a_cluster_smaller_than_a_batch_is_named(folder):
    dataset = make_dataset(folder, make_clusters([0, 0, 1, 1, 1, 3, 3, 2], paths=((1, 1), (0, 0), (0, 1), (1, 0))))
    dataset.check_sizes(1)
    with pytest.raises(InputError, match=r'cluster 2 has 1 images, fewer than a batch of 2 .*\(1 of 4 .*--min-size 2'):
        dataset.check_sizes(2)


def test_a_pipeline_that_does_not_pack_is_refused(folder):
    dataset = ClusterDataset(ImageFolder(str(folder), pipeline=PIPELINE[:1]), CLUSTERS)
    with pytest.raises(InputError, match='end it with PackInputs'):
        dataset[0, 1, 2]


def test_without_clusters_there_is_one_network_which_has_all_images(folder):
    dataset = ClusterDataset(ImageFolder(str(folder), pipeline=PIPELINE))
    assert dataset.members(SUPERNET).tolist() == list(range(8)) and len(dataset.space) == 1
    one, same, other = (dataset[(3, SUPERNET, seed)]['inputs'][0] for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert dataset[(3, SUPERNET, 5)]['data_samples'].network == SUPERNET
