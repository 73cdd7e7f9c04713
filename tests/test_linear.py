"""The linear probe and its solver, against autograd and scikit-learn."""

import json

import linear_eval as tool
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from routing_data import make_run, network
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression

from sdr_mm.errors import InputError
from sdr_mm.evaluation import METRICS, Split, hold_out, linear_probe
from sdr_mm.evaluation.linear import L2_GRID
from sdr_mm.evaluation.logistic import fit_logistic
from sdr_mm.routing import extract_subnet

GRID = (1e-3, 0.1, 10., 1e3)


def problem(n, d, classes, seed=0, several=False):
    """Features of unequal scales, far from the origin, as those of a network are."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = random.normal(size=(n, d)) * np.geomspace(3, 0.03, d) + 5
    features[:, :classes] += 0.8 * np.eye(classes)[labels]
    if several:
        labels = (np.eye(classes)[labels] + (random.uniform(size=(n, classes)) < 0.2)).clip(0, 1).astype(np.uint8)
    return torch.from_numpy(features), labels


def objective(weights, intercepts, features, labels, l2):
    """Σ loss + l2 / 2 · ‖W‖², as the docstring has it."""
    logits = features @ weights.T + intercepts
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels, reduction='sum') + l2 / 2 * weights.square().sum()
    # A softmax of two classes with opposite weights: each pays for half of their difference.
    loss = F.binary_cross_entropy_with_logits(logits, labels.double(), reduction='sum')
    return loss + l2 / 4 * weights.square().sum()


@pytest.mark.parametrize('n, d, classes, several', [(90, 12, 3, False), (40, 60, 4, False), (80, 10, 2, False),
                                                    (90, 12, 3, True)])
def test_gradient_vanishes_at_every_solution(n, d, classes, several):
    features, labels = problem(n, d, classes, several=several)
    fit = fit_logistic(features, labels, GRID, tol=1e-7)
    assert fit.converged.all()
    for weights, intercepts, l2, bound in zip(*fit.coefficients(), GRID, fit.gradients):
        weights.requires_grad_(), intercepts.requires_grad_()
        loss = objective(weights, intercepts, features, torch.from_numpy(labels), l2)
        gradients = torch.autograd.grad(loss / n, (weights, intercepts))
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        assert largest <= float(bound) + 1e-12 <= 1.01e-7


@pytest.mark.parametrize('load', [load_digits, load_wine])
def test_weights_and_probabilities_are_those_of_scikit_learn(load):
    data = load()
    features, labels = data.data[:400], data.target[:400]
    kept = np.unique(labels, return_inverse=True)[1]
    fit = fit_logistic(features, kept, (1., 100.), tol=1e-9)
    for weights, intercepts, l2 in zip(*fit.coefficients(), (1., 100.)):
        model = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=20000).fit(
            features - features.mean(0), kept)
        np.testing.assert_allclose(weights, model.coef_, atol=2e-4)
        ours = torch.from_numpy(features) @ weights.T + intercepts
        np.testing.assert_allclose(ours.softmax(1), model.predict_proba(features - features.mean(0)), atol=2e-4)


def test_two_classes_pay_half_the_penalty_of_scikit_learn():
    data = load_breast_cancer()
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    fit = fit_logistic(features, data.target, (10., ), tol=1e-9)
    model = LogisticRegression(C=2 / 10., tol=1e-10, max_iter=20000).fit(features, data.target)
    weights, _ = fit.coefficients()
    np.testing.assert_allclose(weights[0, 1] - weights[0, 0], model.coef_[0], atol=1e-4)


def test_solving_in_parts_and_in_another_order_changes_nothing():
    features, labels = problem(120, 15, 4)
    together = fit_logistic(features, labels, GRID, tol=1e-8)
    parts = fit_logistic(features, labels, GRID, tol=1e-8, memory=1)
    other = fit_logistic(features, labels, GRID[::-1], tol=1e-8)
    torch.testing.assert_close(together.coefficients()[0], parts.coefficients()[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.coefficients()[0], other.coefficients()[0].flip(0), rtol=1e-4, atol=1e-5)


def test_axes_without_images_and_rotations_change_no_score():
    features, labels = problem(60, 10, 3)
    rotation = torch.linalg.qr(torch.randn(14, 14, dtype=torch.float64)).Q
    wide = torch.cat([features, torch.zeros(60, 4, dtype=torch.float64)], 1) @ rotation
    for one, other in zip(fit_logistic(features, labels, GRID, tol=1e-9).scores(features),
                          fit_logistic(wide, labels, GRID, tol=1e-9).scores(wide)):
        one, other = (scores - scores.mean(1, keepdim=True) for scores in (one, other))
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def digits(several=False):
    data = load_digits()
    labels = data.target.astype(np.int64)
    if several:
        labels = np.stack([labels % 2, labels > 4, labels % 3 == 0], 1).astype(np.uint8)
    order = np.random.default_rng(0).permutation(900)
    return torch.from_numpy(data.data[:900]).float(), labels[:900], Split(order[:500], order[600:], order[500:600])


@pytest.mark.parametrize('metric, several', [('accuracy', False), ('mean_per_class', False), ('map_11', True)])
def test_both_solvers_give_the_same_score(metric, several):
    features, labels, split = digits(several)
    grid = tuple(np.logspace(-2, 4, 7))
    ours = linear_probe(features, labels, split, metric=metric, l2=grid)
    theirs = linear_probe(features, labels, split, metric=metric, l2=grid, solver='sklearn')
    assert ours.score == pytest.approx(theirs.score, abs=0.5) and ours.score > 85
    assert list(ours.val_scores) == list(grid)


def test_the_first_strictly_best_l2_is_refitted_on_training_and_validation():
    features, labels, split = digits()
    grid = (1e4, 1., 2., 1e6)
    result = linear_probe(features, labels, split, l2=grid)
    best = max(result.val_scores.values())
    assert result.l2 == next(l2 for l2 in grid if result.val_scores[l2] == best)
    model = LogisticRegression(C=1 / result.l2, tol=1e-9, max_iter=20000)
    both = np.concatenate([split.train, split.val])
    values = features.double().numpy() - features.double().numpy()[both].mean(0)
    score = 100 * model.fit(values[both], labels[both]).score(values[split.test], labels[split.test])
    assert result.score == pytest.approx(score, abs=0.4)
    for l2 in grid:
        fit = fit_logistic(features[split.train], labels[split.train], (l2, ), tol=1e-8)
        votes = next(fit.scores(features[split.val])).numpy()
        assert result.val_scores[l2] == pytest.approx(METRICS['accuracy'](votes, labels[split.val]), abs=1.1)


def test_without_validation_images_a_fifth_is_held_out_as_in_the_protocol():
    features, labels, split = digits()
    without = Split(np.sort(np.concatenate([split.train, split.val])), split.test)
    train, val = hold_out(without.train)
    assert len(val) == 120
    implicit = linear_probe(features, labels, without, l2=GRID)
    explicit = linear_probe(features, labels, Split(train, split.test, val), l2=GRID)
    assert implicit.val_scores == explicit.val_scores and implicit.score == explicit.score


def test_images_of_one_group_are_held_out_together():
    features, labels, split = digits()
    twice = features.repeat_interleave(2, 0)
    groups = np.arange(900).repeat(2)
    train = np.concatenate([2 * split.train, 2 * split.train + 1])
    test = np.concatenate([2 * split.test, 2 * split.test + 1])
    # With its twin in the training part every image would be foretold.
    leaking = linear_probe(twice, labels.repeat(2), Split(train, test), l2=(1e-6, ))
    honest = linear_probe(twice, labels.repeat(2), Split(train, test), l2=(1e-6, ), groups=groups)
    assert honest.val_scores[1e-6] < leaking.val_scores[1e-6]


def test_the_grid_is_that_of_the_protocol():
    np.testing.assert_allclose(L2_GRID, np.logspace(-6, 5, 45))


@pytest.mark.parametrize('change, message', [
    (dict(features=lambda x: x * float('nan')), 'not finite'),
    (dict(features=lambda x: x * 0 + 1), 'are equal'),
    (dict(labels=lambda y: y * 0), 'one class'),
    (dict(labels=lambda y: np.where(y == 3, 12, y)), 'has no training image'),
    (dict(l2=(1., -1.)), 'positive and different'),
    (dict(l2=(1., 1.)), 'positive and different'),
    (dict(solver='newton'), 'solver of a linear probe is one of'),
    (dict(metric='f1'), 'metric of a linear probe is one of'),
    (dict(num_classes=4), '10 classes, but 4 were announced'),
])
def test_bad_input_is_one_line(change, message):
    features, labels, split = digits()
    options = {key: value for key, value in change.items() if key not in ('features', 'labels')}
    features = change.get('features', lambda x: x)(features)
    labels = change.get('labels', lambda y: y)(labels)
    with pytest.raises(InputError, match=message) as caught:
        linear_probe(features, labels, split, **options)
    assert '\n' not in str(caught.value)


def test_the_tool_prints_and_writes_what_the_probe_found(tmp_path, capsys):
    root = make_run(tmp_path)
    subnet = extract_subnet(network(), (0, 1))
    torch.save(subnet.state_dict(), tmp_path / 'net.pth')
    out = tmp_path / 'linear.json'
    tool.main([str(tmp_path / 'net.pth'), '--task', str(root / 'task'), '--splits', '2', '--resize', '32', '--size',
               '32', '--workers', '1', '--device', 'cpu', '--l2', '1', '100', '--val-scores', '--out', str(out)])
    text = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert len(written['splits']) == 2 and written['settings']['solver'] == 'torch'
    for split in written['splits']:
        assert f'{split["score"]:.2f} with l2 = {split["l2"]:.4g}' in text
        assert [entry['l2'] for entry in split['val_scores']] == [1, 100]
    mean = np.mean([split['score'] for split in written['splits']])
    assert f'{mean:.2f} ± ' in text and '32 of 32 px' in text
    with pytest.raises(InputError, match='exists already'):
        tool.main([str(tmp_path / 'net.pth'), '--task', str(root / 'task'), '--out', str(out)])
