"""Routing without labels."""

import numpy as np
import pytest
import torch
from routing_data import make_run
from scipy.special import softmax

import sdr_mm
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.routing.label_free import choose_members, cluster_shares


def clusters(assignment):
    return Clusters(np.array(assignment), np.eye(4), np.array([[1, 1], [1, 0], [0, 1], [0, 0]]), 2, '0' * 64, 'random')


def test_members_are_of_their_cluster_and_no_more_than_asked_for():
    assignment = np.random.default_rng(0).integers(-1, 4, 100)
    chosen, cluster = choose_members(clusters(assignment), 5, seed=3)
    assert len(set(chosen.tolist())) == 20 and (assignment[chosen] == cluster).all()
    again, _ = choose_members(clusters(assignment), 5, seed=3)
    other, _ = choose_members(clusters(assignment), 5, seed=4)
    assert (again == chosen).all() and (other != chosen).any()
    everything, cluster = choose_members(clusters([0, 1, 2, 3, 3]), 5)
    assert everything.tolist() == [0, 1, 2, 3, 4] and cluster.tolist() == [0, 1, 2, 3, 3]


def planted(random, kinds, offset=20.0):
    """Features around the axes, in the narrow cone in which averages of ReLU maps lie."""
    return torch.from_numpy(offset + 3 * np.eye(6)[kinds] + random.normal(size=(len(kinds), 6)) * 0.3)


def test_a_task_falls_to_the_clusters_it_resembles():
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(4), 10)
    members = planted(random, cluster)
    shares = cluster_shares(planted(random, np.array([2] * 30 + [1] * 10)), members, cluster)
    assert float(shares.sum()) == pytest.approx(1)
    assert shares.argsort(descending=True)[:2].tolist() == [2, 1]
    assert shares[2] > 0.6 and 0.15 < shares[1] < 0.35


def test_shares_are_the_mean_posterior_worked_out_by_hand():
    random = np.random.default_rng(1)
    cluster = np.array([0, 0, 1, 1, 1])
    members, task = random.normal(size=(5, 3)), random.normal(size=(4, 3))
    center = members.mean(0)

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)
    rows = unit(members - center)
    centroids = unit(np.stack([rows[:2].sum(0), rows[2:].sum(0)]))
    expected = softmax(unit(task - center) @ centroids.T / 0.1, axis=1).mean(0)
    np.testing.assert_allclose(cluster_shares(torch.from_numpy(task), torch.from_numpy(members), cluster), expected)


@pytest.mark.parametrize('which', ['task', 'clusters'])
def test_features_that_are_not_finite_are_one_line(which):
    features = {'task': torch.randn(3, 4), 'clusters': torch.randn(2, 4)}
    features[which][0, 0] = float('nan')
    with pytest.raises(InputError, match=f'images of the {which} are not finite'):
        cluster_shares(features['task'], features['clusters'], np.array([0, 1]))


def test_damaged_images_of_a_cluster_are_left_out_unless_all_are(tmp_path):
    root = make_run(tmp_path)
    files = sorted((root / 'pool').iterdir())
    options = dict(search='label_free', bn='task', per_cluster=3, finalists=2, resize=32, size=32, workers=2)
    sdr = sdr_mm.load(root / 'sdr.pth', device='cpu')
    chosen, cluster = choose_members(sdr.pool().clusters, 3)
    one, *others = chosen[cluster == 1]
    files[one].write_bytes(b'no image')
    with pytest.raises(InputError, match='cannot be decoded'):
        sdr.route(root / 'task', **options)
    ranking = sdr.route(root / 'task', on_error='skip', **options)
    assert len(ranking.scored) == 2 and len(ranking.subnets) == 4
    for number in others:
        files[number].write_bytes(b'no image')
    with pytest.raises(InputError, match='no readable image of cluster 1 is among the 3 that were chosen'):
        sdr.route(root / 'task', on_error='skip', **options)
