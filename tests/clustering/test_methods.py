"""k-means and random clusters, filling small clusters, paths, and the report."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from sdr_mm.clustering.baselines import kmeans_clustering, random_clustering
from sdr_mm.clustering.feature_matrix import FeatureMatrix
from sdr_mm.clustering.partition import Partition
from sdr_mm.clustering.paths import balanced_kmeans, hierarchical_paths, index_paths
from sdr_mm.clustering.report import evaluate_clusters
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.space import SubnetSpace


def planted(k=6, per_cluster=40, dim=16, noise=0.05):
    generator = np.random.default_rng(0)
    centers = np.linalg.qr(generator.normal(size=(dim, dim)))[0][:k]
    labels = generator.permutation(np.repeat(np.arange(k), per_cluster))
    return (centers[labels] + noise * generator.normal(size=(len(labels), dim))).astype(np.float32), labels


def test_kmeans_finds_planted_clusters_and_its_objective_rises():
    features, labels = planted()
    # A cluster split in two is a local optimum of k-means; the best of a few seeds avoids it.
    partition = max((kmeans_clustering(FeatureMatrix(features), 6, seed=seed) for seed in range(4)),
                    key=lambda p: p.history[-1].similarity)
    assert normalized_mutual_info_score(labels, partition.assignment) > 0.99
    similarity = [iteration.similarity for iteration in partition.history]
    assert 1 < len(similarity) <= 20 and similarity[-1] > similarity[0]
    assert 0.9 < similarity[-1] <= 1
    np.testing.assert_allclose(np.linalg.norm(partition.centroids, axis=1), 1, rtol=1e-5)


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_random_clusters_differ_in_size_by_one_at_most(k, extra, seed):
    features = np.random.default_rng(1).normal(size=(k + extra, 3)).astype(np.float32)
    partition = random_clustering(FeatureMatrix(features), k, seed=seed)
    sizes = np.bincount(partition.assignment, minlength=k)
    assert sizes.sum() == k + extra and sizes.max() - sizes.min() <= 1


def test_random_clusters_depend_on_the_seed_and_not_on_the_features():
    features, labels = planted()
    one, two = random_clustering(FeatureMatrix(features), 6), random_clustering(FeatureMatrix(-features), 6)
    np.testing.assert_array_equal(one.assignment, two.assignment)
    assert (one.assignment != random_clustering(FeatureMatrix(features), 6, seed=1).assignment).any()
    assert normalized_mutual_info_score(labels, one.assignment) < 0.2
    matrix = FeatureMatrix(features)
    unit = matrix.take(np.arange(len(matrix))).numpy()
    for cluster in range(6):
        mean = unit[one.assignment == cluster].mean(axis=0)
        np.testing.assert_allclose(one.centroids[cluster], mean / np.linalg.norm(mean), atol=1e-5)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_filling_small_clusters_reaches_the_size_and_takes_no_more_than_it_must(data):
    k = data.draw(st.integers(1, 5))
    before = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=k, max_size=40)))
    min_size = data.draw(st.integers(0, len(before) // k))
    generator = np.random.default_rng(len(before))
    matrix = FeatureMatrix(generator.normal(size=(len(before), 3)).astype(np.float32), center=False)
    centroids = generator.normal(size=(k, 3)).astype(np.float32)
    after = Partition(before, centroids).fill_small(matrix, min_size).assignment

    sizes_before, sizes_after = np.bincount(before, minlength=k), np.bincount(after, minlength=k)
    assert sizes_after.sum() == len(before) and sizes_after.min() >= min_size
    for cluster in range(k):
        if sizes_before[cluster] <= min_size:
            assert sizes_after[cluster] == min_size
            assert (after[before == cluster] == cluster).all(), 'a small cluster gives nothing'
        else:
            assert set(before[after == cluster]) <= {cluster}, 'a large cluster takes nothing'
    assert (before != after).sum() == np.maximum(min_size - sizes_before, 0).sum()


def test_a_small_cluster_takes_its_nearest_images():
    angles = np.linspace(0, np.pi / 2, 10)
    matrix = FeatureMatrix(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), center=False)
    partition = Partition(np.zeros(10, dtype=np.int64), np.eye(2, dtype=np.float32))
    assert partition.fill_small(matrix, 3).assignment.tolist() == [0] * 7 + [1] * 3
    with pytest.raises(InputError, match='10 images cannot fill 2 clusters with 6 each'):
        partition.fill_small(matrix, 6)


def test_by_index_cluster_i_has_path_i():
    space = SubnetSpace(3, 2)
    assert [space.index(path) for path in index_paths(space).tolist()] == list(range(9))
    assert index_paths(SubnetSpace(3, 0)).shape == (1, 0)


def planted_tree(generator):
    """27 points: three far groups of three near groups of three points, shuffled."""
    top, middle, leaf = (generator.normal(size=(3, 8)) for _ in range(3))
    points = (10 * top[:, None, None] + middle[None, :, None] + 0.1 * leaf).reshape(27, 8)
    order = generator.permutation(27)
    return points[order], np.stack(np.unravel_index(order, (3, 3, 3)), axis=1)


@pytest.mark.parametrize('seed', range(5))
def test_hierarchical_paths_follow_a_planted_tree(seed):
    points, tree = planted_tree(np.random.default_rng(seed))
    paths = hierarchical_paths(points, SubnetSpace(3, 3))
    for depth in (1, 2):
        same_prefix = (paths[:, None, :depth] == paths[None, :, :depth]).all(axis=2)
        same_branch = (tree[:, None, :depth] == tree[None, :, :depth]).all(axis=2)
        np.testing.assert_array_equal(same_prefix, same_branch)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    siblings = (paths[:, None, :2] == paths[None, :, :2]).all(axis=2) & ~np.eye(27, dtype=bool)
    strangers = paths[:, None, 0] != paths[None, :, 0]
    assert distance[siblings].max() < distance[strangers].min()


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_hierarchical_paths_use_each_path_once_and_are_repeatable(num_groups, num_blocks, seed):
    space = SubnetSpace(num_groups, num_blocks)
    points = np.random.default_rng(seed).normal(size=(len(space), 4)).round(1)
    paths = hierarchical_paths(points, space)
    assert sorted(map(tuple, paths.tolist())) == space.paths
    np.testing.assert_array_equal(paths, hierarchical_paths(points, space))


def test_balanced_kmeans_keeps_parts_equal_where_the_points_are_not():
    points = np.array([[0.0], [0.1], [0.2], [9.0]])
    assert balanced_kmeans(points, 2).tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match='4 clusters for 9 paths'):
        hierarchical_paths(points, SubnetSpace(3, 2))


def clusters_of(assignment):
    space = SubnetSpace(2, 1)
    return Clusters(np.array(assignment), np.eye(2), index_paths(space), 2, 'f', 'x')


def test_the_report_gives_the_figures_worked_out_by_hand():
    report = evaluate_clusters(clusters_of([0, 0, 0, 1, -1]), np.array([5, 5, 7, 7, 7]))
    assert (report.num_images, report.unassigned, report.smallest, report.largest, report.mean) == (4, 1, 1, 3, 2)
    assert report.balance == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))
    assert report.purity == 0.75
    assert report.nmi == pytest.approx(normalized_mutual_info_score([5, 5, 7, 7], [0, 0, 0, 1]))
    assert '1 / 2.0 / 3' in report.table() and '0.7500' in report.table() and '+ 1 undecodable' in report.table()


def test_the_report_of_equal_and_of_empty_clusters():
    assert evaluate_clusters(clusters_of([0, 1, 1, 0])).balance == pytest.approx(1)
    one = evaluate_clusters(clusters_of([1, 1, 1]))
    assert (one.empty, one.balance, one.purity) == (1, 0, None)
    assert 'purity' not in one.table()
