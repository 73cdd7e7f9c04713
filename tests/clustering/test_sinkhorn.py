"""Sinkhorn-Knopp against exact transport, and the paper's clustering on planted clusters."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from sdr_mm.clustering.feature_matrix import FeatureMatrix, Scores
from sdr_mm.clustering.sinkhorn import first_centroids, objective, sinkhorn, sinkhorn_clustering
from sdr_mm.errors import InputError


def planted(k=8, per_cluster=60, dim=32, noise=0.05, offset=0.0, seed=0):
    """Noisy copies of k random directions; ``offset`` pushes all of them into a narrow cone."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(k, dim))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    labels = generator.permutation(np.repeat(np.arange(k), per_cluster))
    features = centers[labels] + noise * generator.normal(size=(len(labels), dim)) + offset
    return features.astype(np.float32), labels


def purity(labels, assignment):
    return sum(np.bincount(labels[assignment == c]).max() for c in np.unique(assignment)) / len(labels)


def value(u, s, epsilon):
    """Eq. (2) as it is written."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return (u * s).sum() - epsilon * np.where(u > 0, u * np.log(u), 0).sum()


def plan(scores, transport):
    return (transport.log_posterior(scores.double()).exp() / len(scores)).numpy()


def naive_sinkhorn(kernel, iterations=2000):
    """Scaling of a positive matrix, the textbook's way: feasible U's, and an independent reference."""
    u = kernel.copy()
    for _ in range(iterations):
        u /= u.sum(axis=0, keepdims=True) * u.shape[1]
        u /= u.sum(axis=1, keepdims=True) * u.shape[0]
    return u


@pytest.mark.parametrize('epsilon', [0.5, 0.05, 0.01])
@pytest.mark.parametrize('kind', ['normal', 'all images prefer one cluster', 'opposite'])
def test_marginals_are_met(epsilon, kind):
    scores = torch.randn(300, 8).mul(0.3).clamp(-1, 1)
    if kind != 'normal':
        # exp(1 / 0.01) overflows float32: nothing may be exponentiated as it is.
        scores = scores * 0.1 - 0.9
        scores[:, 0] = 1 if kind == 'opposite' else scores[:, 0] + 1
    transport = sinkhorn(scores, epsilon)
    u = plan(scores, transport)
    assert transport.error < 1e-3
    np.testing.assert_allclose(u.sum(axis=1), 1 / 300, rtol=1e-9)
    assert np.abs(u.sum(axis=0) - 1 / 8).sum() < 1e-3


@pytest.mark.parametrize('scale', [1e4, 1e30])
def test_extreme_scores_do_not_overflow(scale):
    scores = torch.randn(50, 4) * scale
    transport = sinkhorn(scores, 0.01, max_iterations=50)
    u = plan(scores, transport)
    assert np.isfinite(u).all() and np.isfinite(transport.error)
    np.testing.assert_allclose(u.sum(axis=1), 1 / 50, rtol=1e-9)


def test_small_epsilon_approaches_the_exact_transport():
    scores = torch.randn(24, 4, dtype=torch.float64)
    n, k = scores.shape
    rows, columns = np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))
    exact = linprog(-scores.numpy().ravel(), A_eq=np.vstack([rows, columns]),
                    b_eq=np.r_[np.full(n, 1 / n), np.full(k, 1 / k)])
    for epsilon in (0.05, 0.01):
        transport = sinkhorn(scores, epsilon, tolerance=1e-5, max_iterations=20000)
        reached = (plan(scores, transport) * scores.numpy()).sum()
        # The entropies of two plans differ by log k at most; that bounds what the entropy term costs.
        assert -exact.fun - epsilon * np.log(k) <= reached <= -exact.fun + 1e-4


def test_the_plan_equals_plain_matrix_scaling():
    scores = torch.randn(40, 5, dtype=torch.float64) * 0.5
    transport = sinkhorn(scores, 0.3, tolerance=1e-10)
    np.testing.assert_allclose(plan(scores, transport), naive_sinkhorn(np.exp(scores.numpy() / 0.3)), atol=1e-9)


def test_no_other_feasible_plan_scores_higher():
    generator = np.random.default_rng(0)
    scores = torch.randn(40, 5, dtype=torch.float64) * 0.3
    u = plan(scores, sinkhorn(scores, 0.05, tolerance=1e-9, max_iterations=5000))
    best = value(u, scores.numpy(), 0.05)
    for sharpness in (0.1, 1, 3):
        other = naive_sinkhorn(np.exp(sharpness * generator.normal(size=u.shape)))
        for share in (1, 0.1, 0.01):  # far from U, and close to it
            assert best > value((1 - share) * u + share * other, scores.numpy(), 0.05)


def test_chunks_and_a_warm_start_change_nothing_but_the_work():
    scores = torch.randn(101, 6) * 0.3
    whole = sinkhorn(scores, tolerance=1e-8)
    chunked = sinkhorn(scores.split(7), tolerance=1e-8)
    torch.testing.assert_close(whole.potential, chunked.potential)
    again = sinkhorn(scores, tolerance=1e-6, potential=whole.potential)
    assert again.iterations == 1 < whole.iterations


@pytest.mark.parametrize('tolerance', [1e-3, 1e-6])  # solved in single and in double precision
def test_many_blocks_in_either_precision_give_the_plan_of_plain_scaling(tolerance):
    scores = torch.randn(2500, 256, generator=torch.Generator().manual_seed(0)) * 0.1
    transport = sinkhorn(scores, tolerance=tolerance)
    u = plan(scores, transport)
    assert transport.error < tolerance
    assert np.abs(u.sum(axis=0) - 1 / 256).sum() == pytest.approx(transport.error, abs=tolerance / 20)
    exact = naive_sinkhorn(np.exp(scores.double().numpy() / 0.05), iterations=200)
    assert np.abs(u - exact).sum() < 3 * tolerance


def test_scores_are_the_products_whether_kept_or_streamed_in_small_chunks():
    features, _ = planted(dim=32)
    centroids = torch.nn.functional.normalize(torch.randn(8, 32), dim=1)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    rows = np.array([7, 479, 0])
    small = {'chunk_bytes': 8 * 32 * 50}
    for options in ({}, {'cache_bytes': 0}, small, {'cache_bytes': 0, **small}):
        scores = Scores(FeatureMatrix(features, center=False, **options), centroids)
        for _ in range(2):  # as often as wanted
            chunks = list(scores)
            np.testing.assert_allclose(torch.cat(chunks), unit @ centroids.numpy().T, atol=1e-6)
            assert max(map(len, chunks)) == (50 if 'chunk_bytes' in options else 480)
        np.testing.assert_allclose(scores.take(rows), unit[rows] @ centroids.numpy().T, atol=1e-6)


def test_the_reported_objectives_are_those_of_the_formulas():
    scores = torch.randn(30, 4) * 0.4
    transport = sinkhorn(scores)
    u = plan(scores, transport)
    trace_entropy, cross_entropy = objective(scores.split(11), transport, 0.1)
    assert trace_entropy == pytest.approx(value(u, scores.numpy(), 0.05), abs=1e-6)
    log_softmax = torch.log_softmax(scores.double() / 0.1, dim=1).numpy()
    assert cross_entropy == pytest.approx(-(u * log_softmax).sum(), abs=1e-6)


@pytest.mark.parametrize('assign', ['scores', 'posterior'])
def test_planted_clusters_are_found(assign):
    features, labels = planted()
    partition = sinkhorn_clustering(FeatureMatrix(features), 8, assign=assign)
    assert purity(labels, partition.assignment) > 0.99
    assert len(np.unique(partition.assignment)) == 8
    np.testing.assert_allclose(np.linalg.norm(partition.centroids, axis=1), 1, rtol=1e-5)


def test_sgd_lowers_the_cross_entropy_and_raises_the_objective():
    features, _ = planted(noise=0.2)
    seen = []
    history = sinkhorn_clustering(FeatureMatrix(features), 8, epochs=6, report=seen.append).history
    assert seen == history and [iteration.epoch for iteration in history] == list(range(7))
    for before, after in pairwise(history):
        assert after.cross_entropy < before.cross_entropy
        assert after.objective > before.objective
    assert history[-1].objective > history[0].objective + 0.1
    assert all(iteration.marginal_error < 1e-3 for iteration in history)


def test_features_in_a_narrow_cone_need_the_mean_taken_away():
    features, labels = planted(offset=2.0)
    centered, plain = (sinkhorn_clustering(FeatureMatrix(features, center=center), 8) for center in (True, False))
    assert purity(labels, centered.assignment) > 0.99
    # All cosines are near 1 and every row of U is nearly uniform: the cross entropy stays at log k.
    assert plain.history[-1].cross_entropy > 0.99 * np.log(8)
    assert centered.history[-1].cross_entropy < 0.65 * np.log(8)


def test_the_posterior_gives_nearly_equal_sizes_where_the_scores_do_not():
    generator = np.random.default_rng(0)
    features = np.r_[generator.normal(size=(20, 16)), generator.normal(size=(220, 16)) * 0.3 + 1].astype(np.float32)
    by_scores, by_posterior = (
        np.bincount(sinkhorn_clustering(FeatureMatrix(features, center=False), 8, epochs=2, assign=assign).assignment,
                    minlength=8) for assign in ('scores', 'posterior'))
    assert by_posterior.min() > 15 and by_posterior.max() < 45  # 30 would be equal
    assert by_scores.min() < by_posterior.min() or by_scores.max() > by_posterior.max()


def test_the_seed_decides_and_the_size_of_the_chunks_does_not():
    features, _ = planted(noise=0.3)
    first, again = (sinkhorn_clustering(FeatureMatrix(features), 8, epochs=2) for _ in range(2))
    other = sinkhorn_clustering(FeatureMatrix(features), 8, epochs=2, seed=1)
    streamed = sinkhorn_clustering(FeatureMatrix(features, cache_bytes=0, chunk_bytes=5000), 8, epochs=2)
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert not np.allclose(first.centroids, other.centroids)
    np.testing.assert_allclose(first.centroids, streamed.centroids, atol=1e-4)


def test_first_centroids_are_distinct_images_spread_over_the_clusters():
    features, labels = planted(noise=0.01)
    matrix = FeatureMatrix(features)
    centroids = first_centroids(matrix, 8, seed=3)
    nearest = (centroids @ matrix.take(np.arange(len(matrix))).T).argmax(dim=1)
    assert sorted(labels[nearest]) == list(range(8))
    copies = FeatureMatrix(np.repeat(np.eye(2, 4, dtype=np.float32), 5, axis=0), center=False)
    assert first_centroids(copies, 10, seed=0).shape == (10, 4), 'equal images still give k centroids'


def test_features_are_unit_vectors_around_the_origin():
    features, _ = planted(offset=1.0)
    matrix = FeatureMatrix(features.astype(np.float16) * 10, images=np.arange(5, 300), chunk_bytes=3000)
    chunks = torch.cat(list(matrix.chunks()))
    assert len(matrix) == len(chunks) == 295
    torch.testing.assert_close(chunks.norm(dim=1), torch.ones(295))
    unit = features[5:300] / np.linalg.norm(features[5:300], axis=1, keepdims=True)
    expected = unit - unit.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(chunks.numpy(), expected, atol=5e-3)


@pytest.mark.parametrize('options, message', [
    ({'epsilon': 0}, 'epsilon'), ({'lr': -1}, 'lr'), ({'epochs': -1}, 'epochs'), ({'assign': 'best'}, 'assign'),
    ({'temperature': 0}, 'temperature'),
])
def test_options_out_of_range_are_refused_in_one_line(options, message):
    features, _ = planted(per_cluster=2)
    with pytest.raises(InputError, match=message) as error:
        sinkhorn_clustering(FeatureMatrix(features), 8, **{'epochs': 0, **options})
    assert '\n' not in str(error.value)


def test_more_clusters_than_images_are_refused():
    with pytest.raises(InputError, match='17 clusters cannot be made of 16 images'):
        sinkhorn_clustering(FeatureMatrix(planted(per_cluster=2)[0]), 17)
    with pytest.raises(InputError, match='no features'):
        FeatureMatrix(np.zeros((0, 3), np.float32))
