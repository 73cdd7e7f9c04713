"""Logistic regression for many l2 weights at once, against scikit-learn, autograd and closed forms."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sdr_mm.errors import InputError
from sdr_mm.evaluation._logistic import fit_logistic, newton
from sdr_mm.evaluation._logistic.fit import principal_axes
from sdr_mm.evaluation._logistic.losses import Binary, Loss, Softmax

L2 = [1e-4, 1e-2, 1., 30., 1e4]


def data(n=120, d=12, classes=4, seed=0, several=False):
    """Features of very unequal and dependent directions, far from the origin, that nearly tell the classes."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(classes, size=n - classes)])
    features = random.normal(size=(classes, d))[labels] + 1.5 * random.normal(size=(n, d))
    features = features * np.geomspace(3, 0.03, d) @ np.linalg.qr(random.normal(size=(d, d)))[0] + 5
    if several:
        labels = (random.random((n, classes)) < 0.2) | np.eye(classes, dtype=bool)[labels]
    return features.astype(np.float32), labels.astype(np.int64)


def scikit_learn(features, labels, l2, several=False):
    """Coefficients, intercepts and probabilities of a fit that has really converged."""
    # Two classes have one weight vector there instead of two opposite ones, which costs twice as much.
    two = len(np.unique(labels)) == 2
    features = features.astype(np.float64)
    model = LogisticRegression(C=(2 if two else 1) / l2, tol=1e-10, max_iter=100000, solver='newton-cg')
    model.fit(features, labels)
    return model.coef_, model.intercept_, model.predict_proba(features)


@pytest.mark.parametrize('n, d', [(120, 12), (30, 60)])
def test_softmax_equals_scikit_learn(n, d):
    features, labels = data(n, d)
    fit = fit_logistic(features, labels, L2, tol=1e-11)
    assert fit.converged.all()
    weights, intercepts = fit.coefficients()
    for number, (l2, scores) in enumerate(zip(L2, fit.scores(features))):
        coefficients, intercept, probabilities = scikit_learn(features, labels, l2)
        np.testing.assert_allclose(weights[number], coefficients, atol=1e-4 * np.abs(coefficients).max())
        # Only differences between classes count.
        np.testing.assert_allclose(intercepts[number] - intercepts[number].mean(), intercept - intercept.mean(),
                                   atol=1e-4 * max(1, np.abs(intercept).max()))
        np.testing.assert_allclose(scores.softmax(1), probabilities, atol=1e-4)


def test_two_classes_are_a_softmax_too():
    features, labels = data(classes=2)
    fit = fit_logistic(features, labels, [0.1, 10], tol=1e-9)
    weights, _ = fit.coefficients()
    assert weights.shape == (2, 2, 12) and torch.equal(weights[:, 0], -weights[:, 1])
    for number, (l2, scores) in enumerate(zip([0.1, 10], fit.scores(features))):
        coefficients, _, probabilities = scikit_learn(features, labels, l2)
        np.testing.assert_allclose(2 * weights[number, 1:], coefficients, atol=1e-4)
        np.testing.assert_allclose(scores.softmax(1), probabilities, atol=1e-4)


def test_several_labels_are_a_fit_for_each_class():
    features, labels = data(several=True)
    l2 = [10., 0.1]
    fit = fit_logistic(features, labels, l2, tol=1e-9)
    for weight, scores in zip(l2, fit.scores(features)):
        assert scores.shape == (120, 4)
        for number in range(4):
            _, _, probabilities = scikit_learn(features, labels[:, number], weight)
            np.testing.assert_allclose(scores[:, number].sigmoid(), probabilities[:, 1], atol=1e-4)


def objective(features, labels, weights, intercepts, l2):
    """The mean objective as it is written down."""
    logits = torch.as_tensor(features).double() @ weights.T + intercepts
    loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(labels))
    return loss + l2 / 2 * weights.square().sum() / len(labels)


@pytest.mark.parametrize('tol', [1e-3, 1e-7])
def test_the_gradient_is_within_the_tolerance(tol):
    features, labels = data(80, 30)
    fit = fit_logistic(features, labels, L2, tol=tol)
    assert fit.converged.all()
    for weights, intercepts, l2, bound in zip(*fit.coefficients(), L2, fit.gradients):
        weights, intercepts = weights.clone().requires_grad_(), intercepts.clone().requires_grad_()
        objective(features, labels, weights, intercepts, l2).backward()
        largest = max(weights.grad.abs().max(), intercepts.grad.abs().max())
        assert largest <= bound + 1e-12 and bound <= tol


def test_the_gradient_is_small_against_that_of_the_penalty():
    features, labels = data(80, 30)
    for balance in (0.1, 1e-3):
        fit = fit_logistic(features, labels, L2, tol=10, balance=balance)
        assert fit.converged.all()
        pull = torch.tensor(L2).double() / 80 * fit.weights.norm(dim=2).amax(1)
        assert (fit.gradients <= 2**0.5 * balance * pull).all() and (fit.gradients > 0.01 * balance * pull).any()


def test_no_other_weights_do_better():
    features, labels = data(60, 8, classes=3)
    fit = fit_logistic(features, labels, [0.5], tol=1e-9)
    (weights, ), (intercepts, ) = fit.coefficients()
    best = objective(features, labels, weights, intercepts, 0.5)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        others = [value + 1e-2 * torch.randn(value.shape, generator=generator).double()
                  for value in (weights, intercepts)]
        assert objective(features, labels, *others, 0.5) > best


@pytest.mark.parametrize('several', [False, True])
def test_neither_the_order_nor_the_company_of_the_weights_matters(several):
    features, labels = data(several=several)
    l2 = [3., 100., 0.3, 1., 30., 10., 2000., 1000., 300.]
    together = fit_logistic(features, labels, l2, tol=1e-9).coefficients()[0]
    alone = torch.cat([fit_logistic(features, labels, [weight], tol=1e-9).coefficients()[0] for weight in l2])
    scale = together.abs().max()
    torch.testing.assert_close(alone / scale, together / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize('several', [False, True])
def test_gradient_hessian_and_its_blocks_are_those_of_autograd(several):
    features, labels = data(40, 6, 3, several=several)
    values, labels = torch.from_numpy(features).double() / 5, torch.from_numpy(labels)
    loss = Binary(values, labels.T) if several else Softmax(values, labels)
    point, direction = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2)).double() / 5

    def written_out(point):
        if several:
            return torch.nn.functional.binary_cross_entropy_with_logits(values @ point.T, labels.double()) * 3
        return torch.nn.functional.cross_entropy(values @ point.T, labels)

    value, gradient, probabilities = loss(point)
    torch.testing.assert_close(value.sum(), written_out(point))
    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(written_out, point))
    hessian = torch.autograd.functional.hessian(written_out, point)
    torch.testing.assert_close(loss.curve(probabilities, direction), torch.tensordot(hessian, direction, 2))
    torch.testing.assert_close(loss.blocks(probabilities), hessian.diagonal(dim1=0, dim2=2).permute(2, 0, 1))
    torch.testing.assert_close(loss.start()[:, -1] * values[0, -1], (labels.double().mean(0).logit() if several else
                                                                   labels.bincount().double().div(40).log()))


def test_a_hard_task_is_fitted_by_blocks_and_to_the_same_without(monkeypatch):
    features, labels = data()
    used = []
    monkeypatch.setattr(Loss, 'blocks', lambda *args, real=Loss.blocks: used.append(1) or real(*args))
    blocks = fit_logistic(features, labels, [1e-4], tol=1e-9)
    assert used and blocks.converged.all()
    used.clear()
    monkeypatch.setattr(newton, 'MEMORY', 1)
    without = fit_logistic(features, labels, [1e-4], tol=1e-9)
    assert not used and without.iterations[0] > 2 * blocks.iterations[0]
    scale = blocks.weights.abs().max()
    torch.testing.assert_close(without.weights / scale, blocks.weights / scale, rtol=0, atol=1e-4)


def test_a_separable_task_converges_for_a_tiny_penalty():
    features, labels = data(40, 80)
    fit = fit_logistic(features, labels, [1e-6], tol=1e-9)
    assert fit.converged.all()
    assert (next(fit.scores(features)).argmax(1).numpy() == labels).all()


def test_a_fit_that_runs_out_of_steps_is_reported():
    fit = fit_logistic(*data(), [1e-4, 1e12], tol=1e-9, max_iter=4)
    assert fit.converged.tolist() == [False, True] and fit.gradients[0] > 1e-9
    assert fit.iterations[0] == 4


def test_without_use_for_the_features_the_intercepts_are_the_frequencies():
    features, labels = data()
    scores = next(fit_logistic(features, labels, [1e12], tol=1e-12).scores(features))
    frequencies = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(scores.softmax(1), np.tile(frequencies, (len(labels), 1)), atol=1e-6)


@pytest.mark.parametrize('n, d', [(50, 10), (10, 50), (20, 20)])
def test_principal_axes_are_a_rotation_that_leaves_out_what_is_empty(n, d):
    features, _ = data(n, d)
    features[:, 3] = 7  # One direction in which nothing differs.
    features = torch.from_numpy(features)
    mean, basis, values = principal_axes(features)
    assert basis.shape[1] == min(n - 1, d - 1)
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(values @ basis.T + mean, features.double(), rtol=0, atol=1e-10)
    norms = values.norm(dim=0)
    torch.testing.assert_close(values.T @ values / norms / norms[:, None], torch.eye(len(norms)).double(),
                               rtol=0, atol=1e-4)


class Quadratics(Loss):
    """``½ Σ a (x - c)²``, each row on its own."""

    joint = False

    def __init__(self, factor, center):
        self.factor, self.center, self.second = factor, center, torch.ones(center.shape[1]).double()

    def start(self):
        return torch.zeros_like(self.center)

    def __call__(self, point):
        slope = self.factor * (point - self.center)
        return (slope * (point - self.center)).sum(1, keepdim=True) / 2, slope, self.factor

    def curve(self, probabilities, direction):
        return self.factor * direction

    def diagonal(self, probabilities):
        return torch.ones_like(self.factor)


def test_quadratics_are_solved_each_on_its_own():
    """With conditions from 1 to 1e6, and one that begins at its minimum."""
    center = torch.arange(12.).double().view(3, 4) + 1
    factor = torch.logspace(0, 6, 4).double() ** torch.tensor([0., 0.5, 1]).double()[:, None]
    loss, none = Quadratics(factor, center), torch.zeros(4).double()
    start = loss.start()
    start[1] = center[1]
    found = newton.minimize(loss, none, start, tol=1e-9, balance=1., max_steps=500)
    torch.testing.assert_close(found.point, center, rtol=0, atol=1e-9)
    assert found.converged and found.gradient <= 1e-9 and found.steps <= 20
    torch.testing.assert_close(found.point[1], center[1], rtol=0, atol=0)
    at_once = newton.minimize(loss, none, center, tol=1e-9, balance=1., max_steps=500)
    assert at_once.steps == 0 and at_once.converged
    hurried = newton.minimize(loss, none, start, tol=1e-9, balance=1., max_steps=1)
    assert hurried.steps == 1 and not hurried.converged and hurried.gradient > 1e-9


def test_a_problem_without_descent_ends():
    class Cliff(Quadratics):

        def __call__(self, point):
            value, _, factor = super().__call__(point)
            return torch.where((point == 0).all(1, keepdim=True), value, torch.nan), torch.ones_like(point), factor

    loss = Cliff(torch.ones(2, 3).double(), torch.ones(2, 3).double())
    found = newton.minimize(loss, torch.zeros(3).double(), loss.start(), tol=1e-3, balance=1., max_steps=100)
    assert (found.point == 0).all() and found.gradient > 1 and not found.converged


FEATURES, LABELS = np.eye(4, 3), np.array([0, 1, 2, 0])
SEVERAL = np.array([[1, 0], [0, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize('change, message', [
    (dict(features=np.full((4, 3), np.nan)), '4 of 4 images are not finite'),
    (dict(features=np.full((4, 3), 0.1)), 'all 4 training images are equal'),
    (dict(features=np.ones(4)), r'needs features \(n, d\)'),
    (dict(labels=LABELS[:3]), 'for each of 4 images'),
    (dict(labels=LABELS / 2), 'for each of 4 images'),
    (dict(labels=LABELS - 1), 'must not be negative'),
    (dict(labels=np.zeros(4, int)), 'the same class'),
    (dict(labels=2 * LABELS), 'no training image has class number 1'),
    (dict(labels=SEVERAL * [1, 0]), 'no training image has class number 1'),
    (dict(labels=SEVERAL | [0, 1]), 'every training image has class number 1'),
    (dict(labels=SEVERAL * 2), 'of 0 and 1'),
    (dict(l2=[]), 'positive numbers'),
    (dict(l2=[1, 0]), 'positive numbers'),
    (dict(l2=[1, np.inf]), 'positive numbers'),
    (dict(tol=0), 'tol > 0'),
    (dict(balance=-1), 'balance > 0'),
    (dict(max_iter=0), 'max_iter >= 1'),
])
def test_bad_input_is_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        fit_logistic(**{**dict(features=FEATURES, labels=LABELS, l2=[1]), **change})
    assert '\n' not in str(caught.value)
