"""LogME, the regularized H-score and TransRate against their definitions written out."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import LedoitWolf

from sdr_mm.errors import InputError
from sdr_mm.evaluation.transferability import h_score, logme, transrate

SCORES = [logme, h_score, transrate]


def blobs(n, d, classes, distance=2.0, seed=0):
    """Gaussian clouds of unequal sizes around random centers, off the origin."""
    random = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes), random.integers(classes, size=n - classes)]
    centers = random.normal(size=(classes, d))
    return 1 + distance / np.sqrt(d) * centers[labels] + random.normal(size=(n, d)), labels


def evidence(features, target, log_alpha, log_beta):
    """Eq. 2 of LogME as it stands: the density of the labels under the marginal Gaussian."""
    covariance = np.exp(-log_beta) * np.eye(len(target)) + np.exp(-log_alpha) * features @ features.T
    return multivariate_normal(cov=covariance, allow_singular=True).logpdf(target) / len(target)


def highest_evidence(features, target):
    best = -np.inf
    for start in ((0, 0), (6, 2), (-4, 4)):
        found = minimize(lambda at: -evidence(features, target, *at), start, method='Nelder-Mead',
                         options=dict(xatol=1e-6, fatol=1e-12, maxiter=2000))
        best = max(best, -found.fun)
    return best


@pytest.mark.parametrize('n, d, classes, distance',
                         [(40, 6, 3, 2.0), (40, 6, 2, 0.0), (25, 24, 4, 2.0), (12, 30, 2, 1.0)])
def test_logme_is_the_maximum_of_the_marginal_likelihood(n, d, classes, distance):
    x, y = blobs(n, d, classes, distance)
    expected = np.mean([highest_evidence(x, (y == label).astype(float)) for label in range(classes)])
    assert logme(x, y) == pytest.approx(expected, abs=1e-6)


def fixed_point(features, target):
    """MacKay's iteration (LogME, algorithm 1), on the covariance written out."""
    n, d = features.shape
    alpha = beta = 1.0
    for _ in range(2000):
        a = alpha * np.eye(d) + beta * features.T @ features
        mean = beta * np.linalg.solve(a, features.T @ target)
        gamma = d - alpha * np.trace(np.linalg.inv(a))
        alpha, beta = gamma / (mean @ mean), (n - gamma) / np.square(features @ mean - target).sum()
    return evidence(features, target, np.log(alpha), np.log(beta))


def test_logme_is_where_the_papers_fixed_point_ends():
    x, y = blobs(60, 8, 3, seed=1)
    expected = np.mean([fixed_point(x, (y == label).astype(float)) for label in range(3)])
    assert logme(x, y) == pytest.approx(expected, abs=1e-9)


def test_logme_of_several_labels_is_the_mean_over_them():
    x, y = blobs(40, 6, 3)
    several = np.stack([y == 0, y > 0, y != 1], 1).astype(np.uint8)
    expected = np.mean([highest_evidence(x, column.astype(float)) for column in several.T])
    assert logme(x, several) == pytest.approx(expected, abs=1e-6)
    # One against the rest: several labels of which each image has one are class numbers.
    assert logme(x, np.eye(3, dtype=np.uint8)[y]) == pytest.approx(logme(x, y), abs=1e-12)


def test_logme_stays_finite_where_the_fit_is_perfect_or_void():
    y = np.arange(30) % 2
    perfect = logme(np.c_[y == 0, y == 1].astype(float), y)
    assert np.isfinite(perfect) and perfect > 5
    # Features that are all zero leave the evidence of noise around zero.
    assert logme(np.zeros((30, 4)), y) == pytest.approx(-0.5 * np.log(2 * np.pi * 0.5) - 0.5)


@pytest.mark.parametrize('n, d, classes', [(50, 8, 3), (50, 49, 5), (20, 60, 4), (9, 200, 2)])
def test_h_score_is_the_formula_with_scikit_learns_shrinkage(n, d, classes):
    x, y = blobs(n, d, classes)
    shrunk = LedoitWolf().fit(x)
    means = np.stack([x[y == label].mean(0) for label in y])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ ((1 - shrunk.shrinkage_) * between))
    assert h_score(x, y) == pytest.approx(expected, rel=1e-9)


def test_h_score_without_shrinkage_or_variance():
    # Two points have no within-class variance and no error of the covariance; their between-class share is all.
    assert h_score(np.array([[1.0, 2, 3], [0, 0, 0]]), [0, 1]) == pytest.approx(1)
    assert h_score(np.ones((6, 3)), [0, 0, 1, 1, 2, 2]) == 0


@pytest.mark.parametrize('n, d, classes, eps', [(50, 8, 3, 1e-4), (20, 60, 4, 1e-4), (50, 8, 3, 0.5)])
def test_transrate_is_the_difference_of_log_determinants(n, d, classes, eps):
    x, y = blobs(n, d, classes)
    x64 = x - x.mean(0)

    def rate(z):
        return 0.5 * np.linalg.slogdet(np.eye(d) + z.T @ z / (len(z) * eps))[1]

    expected = rate(x64) - np.mean([rate(x64[y == label]) for label in range(classes)])
    assert transrate(x, y, eps=eps) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('score', SCORES)
@pytest.mark.parametrize('n, d', [(60, 7), (20, 33)])
def test_scores_do_not_depend_on_rotation_order_or_the_names_of_classes(score, n, d):
    x, y = blobs(n, d, 4)
    value = score(x, y)
    rotated = x @ ortho_group.rvs(d, random_state=0)
    order = np.random.default_rng(0).permutation(n)
    assert score(rotated, y) == pytest.approx(value, rel=1e-7)
    assert score(x[order], y[order]) == pytest.approx(value, rel=1e-9)
    assert score(x, np.array([7, 0, 3, 12])[y]) == pytest.approx(value, rel=1e-9)


def test_scale_matters_where_the_papers_say():
    x, y = blobs(60, 7, 4)
    assert logme(50 * x, y) == pytest.approx(logme(x, y), rel=1e-7)
    assert h_score(50 * x + 3, y) == pytest.approx(h_score(x, y), rel=1e-7)
    assert transrate(x + 3, y) == pytest.approx(transrate(x, y), rel=1e-7)
    assert abs(transrate(x / 100, y) - transrate(x, y)) > 0.1


@pytest.mark.parametrize('score', SCORES)
@pytest.mark.parametrize('n, d', [(200, 16), (40, 64)])
def test_better_separated_classes_score_higher(score, n, d):
    values = [score(*blobs(n, d, 4, distance)) for distance in (0, 3, 9)]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize('score', SCORES)
def test_an_image_alone_in_its_class_is_scored(score):
    x, y = blobs(30, 5, 3)
    y = np.where(np.arange(30) == 4, 9, y)
    assert np.isfinite(score(x, y))
    assert np.isfinite(score(x[:3], [0, 1, 2]))


@pytest.mark.parametrize('score', SCORES)
def test_tensors_of_a_network_score_like_arrays(score):
    x, y = blobs(40, 6, 3)
    single = x.astype(np.float32)
    kept = single.copy()
    assert score(torch.from_numpy(single), torch.from_numpy(y)) == score(single.astype(np.float64), y)
    assert np.array_equal(single, kept)


def _nan(x, y):
    x[[3, 7], 1] = np.nan, np.inf
    return x, y


@pytest.mark.parametrize('score', SCORES)
@pytest.mark.parametrize('change, message', [
    (_nan, 'features of 2 of 20 images are not finite'),
    (lambda x, y: (x, 0 * y), 'at least two classes'),
    (lambda x, y: (x, y[1:]), 'for each of 20 images, got'),
    (lambda x, y: (x, y + 0.5), 'a class number, .* of torch.float64'),
    (lambda x, y: (x[:, :, None], y), r'needs features \(n, d\), got \(20, 4, 1\)'),
    (lambda x, y: (x[:0], y[:0]), r'needs features \(n, d\), got \(0, 4\)'),
])
def test_what_cannot_be_scored_is_one_line(score, change, message):
    with pytest.raises(InputError, match=message) as caught:
        score(*change(*blobs(20, 4, 3)))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('score, labels, message', [
    (h_score, [[1, 0], [1, 1]], 'the H-score takes one label for an image'),
    (transrate, [[1, 0], [1, 1]], 'TransRate takes one label for an image'),
    (logme, [[1, 2], [1, 1]], 'rows of 0 and 1'),
    (logme, [[1, 0], [1, 0]], 'no image has class number 1'),
])
def test_several_labels_an_image_are_refused_where_a_score_cannot_have_them(score, labels, message):
    with pytest.raises(InputError, match=message):
        score(np.eye(2), labels)


def test_transrate_needs_a_positive_distortion():
    with pytest.raises(InputError, match='must be positive, got 0'):
        transrate(*blobs(20, 4, 3), eps=0)
