"""Nearness of images to clusters, against NumPy."""

import numpy as np
import pytest
from routing_data import make_run

import sdr_mm
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task
from sdr_mm.images import ImageStore
from sdr_mm.routing.nearest import nearest_images


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp('run'))
    sdr = sdr_mm.load(root / 'sdr.pth', device='cpu')
    return root, sdr, sdr.pool(), Task.from_folder(root / 'task')


def find(sdr, pool, task, clusters, **options):
    return nearest_images(sdr.backbone, pool, task, clusters, normalization=sdr.settings.normalization, resize=36,
                          size=32, **options)


def directions(sdr, paths):
    """Features of the super-net, one image at a time."""
    store = ImageStore(paths, resize=36, size=32)
    rows = []
    for batch in store.batches(np.arange(len(paths)), 1, **sdr.settings.normalization._asdict()):
        rows.append(sdr.backbone.eval()(batch)[-1].mean((2, 3)).detach().double().numpy()[0])
    return np.stack(rows)


def test_the_nearest_come_first(world):
    _, sdr, pool, task = world
    members, images = directions(sdr, pool.paths), directions(sdr, task.paths)
    center = members.mean(0)  # The clusters are of equal size.
    members, images = ((rows - center) / np.linalg.norm(rows - center, axis=1, keepdims=True)
                       for rows in (members, images))
    cosines = members @ images.T
    found = find(sdr, pool, task, [2, 0])
    assert [one.cluster for one in found] == [2, 0]
    for one in found:
        its = np.flatnonzero(pool.clusters.assignment == one.cluster)
        assert sorted(one.members) == its.tolist() and len(one.images) == len(task.paths)
        np.testing.assert_array_equal(one.members, its[np.argsort(-cosines[its].mean(1), kind='stable')])
        np.testing.assert_array_equal(one.images, np.argsort(-cosines[its].mean(0), kind='stable'))


def test_of_many_images_some_are_looked_at(world, monkeypatch):
    _, sdr, pool, task = world
    monkeypatch.setattr('sdr_mm.routing.nearest.MEMBERS', 4)
    monkeypatch.setattr('sdr_mm.routing.nearest.IMAGES', 7)
    monkeypatch.setattr('sdr_mm.routing.nearest.CENTER', 8)
    one, again, other = (find(sdr, pool, task, [3], seed=seed)[0] for seed in (0, 0, 1))
    assert len(set(one.members.tolist())) == 4 and len(set(one.images.tolist())) == 7
    assert (pool.clusters.assignment[one.members] == 3).all()
    assert one.images.tolist() == again.images.tolist() and set(one.images) != set(other.images)


def test_damaged_images_are_passed_over_until_there_is_none(tmp_path):
    root = make_run(tmp_path)
    sdr = sdr_mm.load(root / 'sdr.pth', device='cpu')
    pool, task = sdr.pool(), Task.from_folder(root / 'task')
    its = np.flatnonzero(pool.clusters.assignment == 1)
    for number in its[:2]:
        (root / pool.paths[number]).write_bytes(b'')
    task.paths[5].write_bytes(b'no image')
    one = find(sdr, pool, task, [1])[0]
    assert sorted(one.members) == its[2:].tolist() and 5 not in one.images and len(one.images) == 19
    for number in its:
        (root / pool.paths[number]).write_bytes(b'')
    with pytest.raises(InputError, match=f'none of {len(its)} images of cluster 1 can be decoded'):
        find(sdr, pool, task, [0, 1])
    for path in task.paths:
        path.write_bytes(b'')
    with pytest.raises(InputError, match='none of 20 images of task can be decoded'):
        find(sdr, pool, task, [0])
