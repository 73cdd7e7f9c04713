"""Logistic regression for many l2 weights at once, to the optimum, in float64."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .lbfgs import VECTORS, Evaluation, Minima, minimise

Array = Union[np.ndarray, Tensor]

MEMORY = 2**30
"""Bytes that the problems solved together may take."""

FLOOR = 1e-10
"""Gradients of the objective over n that no fit need fall below."""

_ROWS = 8192


@dataclass(frozen=True)
class LogisticFit:
    """Linear classifiers, one for each l2 weight.

    Args:
        l2 (Tensor): (L,) the weights of the penalty.
        weights (Tensor): (L, c, r), in the coordinates of ``basis``.
        intercepts (Tensor): (L, c), at the mean of the training features.
        basis (Tensor): (d, r), orthonormal.
        mean (Tensor): (d,) of the training features.
        gradients (Tensor): (L,) at least the largest entry of the gradient of the objective over n, with
            respect to weights and intercepts for features as they are.
        iterations (Tensor): (L,) int64 steps; where a weight has a fit for each class, the most.
        converged (Tensor): (L,) bool, whether the gradient came down to what was asked for.
        evaluations (int): Evaluations of one objective and its gradient, in all.
    """

    l2: Tensor
    weights: Tensor
    intercepts: Tensor
    basis: Tensor
    mean: Tensor
    gradients: Tensor
    iterations: Tensor
    converged: Tensor
    evaluations: int

    def scores(self, features: Array) -> Iterator[Tensor]:
        """Yields for each l2 weight the scores (n, c), whose softmax, or sigmoid, is the probability."""
        values = _rotate(torch.as_tensor(features).to(self.mean.device), self.mean, self.basis)
        for weights, intercepts in zip(self.weights, self.intercepts):
            yield values @ weights.T + intercepts

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Weights (L, c, d) and intercepts (L, c) for features as they are."""
        weights = self.weights @ self.basis.T
        return weights, self.intercepts - weights @ self.mean


def fit_logistic(features: Array,
                 labels: Array,
                 l2: Sequence[float],
                 *,
                 tol: float = 1e-4,
                 balance: float = 0.01,
                 max_iter: int = 1000,
                 memory: int = MEMORY) -> LogisticFit:
    """Minimises ``Σ loss + l2 / 2 · ‖W‖²`` for each weight ``l2``; the intercepts are free.

    The loss is the cross entropy of a softmax over all classes, also where there are two; with several
    labels for an image each class is such a fit against the rest. That is the objective of ssl-transfer,
    where ``C = 1 / l2``. scikit-learn's for two classes is the same at half the l2: the two weight vectors
    of a softmax are opposite, so together they pay half of what their difference alone would.

    Note:
        Three changes of variables leave the objective what it is and make it easy: the mean is taken from
        the features, which the intercepts absorb; they are rotated to their principal axes, because the
        penalty does not depend on the basis; and axes along which no image lies, where the weights are
        zero, are left out. There the Hessian is nearly diagonal. Every eighth weight is fitted first, and
        those between begin where a cubic through their neighbours' solutions says.

    Args:
        features (Array): (n, d). The work is done on their device.
        labels (Array): (n,) class numbers from 0, each of which occurs; or (n, c) of 0 and 1 for several
            labels each.
        l2 (Sequence[float]): Positive.
        tol (float): Largest entry of the gradient of the objective over n at which a fit is taken as
            converged, as scikit-learn's. What is compared is a bound from above, about 5 times as strict.
            Defaults to 1e-4.
        balance (float): Largest ratio of the gradient to that of the penalty alone at which a fit is taken as
            converged, so that a small penalty has an effect too, whatever the scale of the features.
            Gradients below :data:`FLOOR` are small enough. Defaults to 0.01.
        max_iter (int): Most steps. Defaults to 1000.
        memory (int): Bytes for the problems solved together; the result does not depend on it. Defaults
            to :data:`MEMORY`.

    Returns:
        LogisticFit: On the device of the features.

    Raises:
        InputError: If features are not finite or all equal, there are fewer than two classes, a class has
            no image or all of them, or an option is out of range.
    """
    features = torch.as_tensor(features)
    labels = torch.as_tensor(labels).to(features.device)
    given = torch.as_tensor(l2, dtype=torch.float64, device=features.device)
    _check(features, labels, given, tol, balance, max_iter)
    weights, order = given.sort()
    mean, basis, values = principal_axes(features)
    # The intercepts get a column of their own, so high that its gradient, which is part of that with respect
    # to weights for features as they are, cannot be overlooked.
    lever = max(1., float(mean.abs().max()))
    values = torch.cat([values, torch.full_like(values[:, :1], lever)], 1)
    objective: _Objective
    if labels.dim() == 1 and labels.max() > 1:
        objective = _Softmax(values, labels, weights)
    else:
        objective = _Binary(values, labels.T if labels.dim() == 2 else labels[None], weights / 2)
    # |g_w + mean · g_b| <= √2 · ‖(g_w, lever · g_b)‖
    objective.tol, objective.balance = tol / 2**0.5, balance
    points = objective.start(lever).expand(len(weights), -1, -1, -1).clone()
    fits = points.shape[1]
    gradients = points.new_zeros(len(weights), fits)
    converged = torch.zeros_like(gradients, dtype=torch.bool)
    iterations = torch.zeros_like(gradients, dtype=torch.int64)
    evaluations = 0

    def solve(part: Tensor) -> Minima:
        def evaluate(points: Tensor, problems: Tensor, scale: bool) -> Evaluation:
            return objective(points, part[problems // fits], problems % fits, scale)

        return minimise(evaluate, points[part].flatten(0, 1), max_iter=max_iter)

    at_once = max(1, memory // (objective.bytes_per_problem * fits))
    solved: list[int] = []
    for level in _levels(len(weights)):
        points[level] = _between(points, solved, level)
        for part in torch.tensor(level, device=points.device).split(at_once):
            minima = solve(part)
            points[part] = minima.points.view_as(points[part])
            gradients[part] = minima.gradients.view(-1, fits) * 2**0.5
            converged[part] = minima.converged.view(-1, fits)
            iterations[part] = minima.iterations.view(-1, fits)
            evaluations += minima.evaluations
        solved = sorted(solved + level)
    points = points.flatten(1, 2)
    if labels.dim() == 1 and points.shape[1] == 1:
        points = torch.cat([-points / 2, points / 2], 1)
    back = order.argsort()
    return LogisticFit(given, points[back, :, :-1], points[back, :, -1] * lever, basis, mean, gradients.amax(1)[back],
                       iterations.amax(1)[back], converged.all(1)[back], evaluations)


def _levels(count: int) -> list[list[int]]:
    """Positions of the weights by the turns in which they are fitted: every eighth one, then those between."""
    levels: list[list[int]] = []
    done: set[int] = set()
    for stride in (8, 4, 2, 1):
        level = sorted({*range(0, count, stride), count - 1} - done)
        if level:
            levels.append(level)
            done.update(level)
    return levels


def _between(points: Tensor, solved: list[int], level: list[int]) -> Tensor:
    """Where to begin: on the cubic through the four nearest solutions."""
    starts = points[level]
    for start, position in zip(starts, level if solved else []):
        first = max(0, min(bisect(solved, position) - 2, len(solved) - 4))
        nodes = solved[first:first + 4]
        start.zero_()
        for node in nodes:
            factor = prod((position - other) / (node - other) for other in nodes if other != node)
            start.add_(points[node], alpha=factor)
    return starts


def principal_axes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,), basis (d, r) and coordinates (n, r) of the features in their principal axes, float64.

    The basis is orthonormal to rounding whatever the condition of the features; only the coordinates'
    independence of each other suffers where it is bad.
    """
    n, d = features.shape
    mean = torch.stack([part.double().sum(0) for part in features.split(_ROWS)]).sum(0) / n
    if n < d:
        # All images lie in a space of n dimensions.
        span = torch.linalg.qr((features.double() - mean).T).Q
    else:
        span = torch.eye(d, dtype=torch.float64, device=features.device)
    gram = torch.zeros(span.shape[1], span.shape[1], dtype=torch.float64, device=features.device)
    for part in features.split(_ROWS):
        rows = part.double() - mean
        rows = rows @ span if n < d else rows
        gram += rows.T @ rows
    basis = span @ torch.linalg.eigh(gram).eigenvectors
    values = _rotate(features, mean, basis)
    norms = values.norm(dim=0)
    kept = norms > max(n, d) * torch.finfo(torch.float64).eps * features.abs().max().double() * n**0.5
    if not kept.any():
        raise InputError(f'the features of all {n} training images are equal: the network has collapsed, take another '
                         f'checkpoint')
    return mean, basis[:, kept], values[:, kept]


def _rotate(features: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    return torch.cat([(part.double() - mean) @ basis for part in features.split(_ROWS)])


class _Objective:
    """Objectives over n, for each l2 weight one or several fits.

    Points are (b, r, q), the intercept's entry last.
    """

    tol: float
    balance: float

    def __init__(self, values: Tensor, l2: Tensor, rows: int) -> None:
        self.values = values
        self.penalty = (l2 / len(values))[:, None, None].repeat(1, 1, values.shape[1])
        self.penalty[:, :, -1] = 0
        self.second = values.square().mean(0)
        self.bytes_per_problem = 8 * rows * (4 * len(values) + (VECTORS + 16) * values.shape[1])

    def start(self, lever: float) -> Tensor:
        """Weights of zero and the intercepts that go with them, (fits, r, q)."""
        raise NotImplementedError

    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, scale: bool) -> Evaluation:
        """What :func:`minimise` asks for: the fits of these numbers for the l2 weights of these numbers."""
        raise NotImplementedError

    def penalised(self, points: Tensor, weights: Tensor, value: Tensor, gradient: Tensor,
                  spread: Optional[Tensor]) -> Evaluation:
        """Adds the penalty to the loss, and the rest of an evaluation.

        Args:
            points (Tensor): (b, r, q).
            weights (Tensor): (b,) numbers of their l2 weights.
            value (Tensor): (b,) mean loss.
            gradient (Tensor): (b, r, q) of it.
            spread (Tensor, optional): (b,) mean of p · (1 - p), where the scale is asked for.
        """
        penalty = self.penalty[weights]
        pull = penalty * points
        value = value + (pull * points).sum((1, 2)) / 2
        limit = (self.balance * pull.norm(dim=2).amax(1)).clamp(min=FLOOR).clamp(max=self.tol)
        scale = None
        if spread is not None:
            # As if confidence did not depend on the features. Where all is certain only the penalty is left, and
            # the intercept has none.
            scale = (1 / (spread.clamp(min=1e-12)[:, None, None] * self.second + penalty)).expand_as(points)
        return value, gradient.add_(pull), limit, scale


class _Softmax(_Objective):
    """Softmax regression: one fit, with a row for each class."""

    def __init__(self, values: Tensor, labels: Tensor, l2: Tensor) -> None:
        self.labels, self.classes = labels, int(labels.max()) + 1
        super().__init__(values, l2, self.classes)

    def start(self, lever: float) -> Tensor:
        point = self.values.new_zeros(1, self.classes, self.values.shape[1])
        point[0, :, -1] = (self.labels.bincount() / len(self.labels)).double().log() / lever
        return point

    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, scale: bool) -> Evaluation:
        n = len(self.values)
        logits = (points.flatten(0, 1) @ self.values.T).view(len(points), self.classes, n)
        logits -= logits.amax(1, keepdim=True)
        index = self.labels.expand(len(points), 1, n)
        own = logits.gather(1, index)
        # The label's term is kept apart, so that neither the loss nor the gradient loses digits where the
        # probability is near 1.
        others = logits.exp_().scatter_(1, index, 0).sum(1, keepdim=True)
        total = others + own.exp()
        value = ((others + own.expm1()).log1p_() - own).sum((1, 2)) / n
        residual = logits.div_(total).scatter_(1, index, -others / total)
        spread = None
        if scale:
            # One for all classes, which keeps the sum of their weights at zero: along it only the penalty curves.
            spread = (residual.abs().sum((1, 2)) - residual.square().sum((1, 2))) / (n * self.classes)
        gradient = (residual.flatten(0, 1) @ self.values).view(points.shape) / n
        return self.penalised(points, weights, value, gradient, spread)


class _Binary(_Objective):
    """One class against the rest: a fit for each row of labels, of the difference of the two weight vectors."""

    def __init__(self, values: Tensor, labels: Tensor, l2: Tensor) -> None:
        self.sign = 2 * labels.double() - 1
        super().__init__(values, l2, 1)

    def start(self, lever: float) -> Tensor:
        point = self.values.new_zeros(len(self.sign), 1, self.values.shape[1])
        point[:, 0, -1] = ((1 + self.sign.mean(1)) / 2).logit() / lever
        return point

    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, scale: bool) -> Evaluation:
        n = len(self.values)
        sign = self.sign[fits]
        margin = (points[:, 0] @ self.values.T).mul_(sign)
        value = torch.nn.functional.softplus(-margin, threshold=torch.inf).sum(1) / n
        wrong = margin.neg_().sigmoid_()
        spread = (wrong.sum(1) - wrong.square().sum(1)) / n if scale else None
        gradient = (wrong.mul_(sign) @ self.values)[:, None] / -n
        return self.penalised(points, weights, value, gradient, spread)


def _check(features: Tensor, labels: Tensor, l2: Tensor, tol: float, balance: float,
           max_iter: int) -> None:
    if features.dim() != 2 or not features.numel():
        raise InputError(f'logistic regression needs features (n, d), got {tuple(features.shape)}')
    if labels.dim() not in (1, 2) or len(labels) != len(features) or labels.is_floating_point():
        raise InputError(f'logistic regression needs a class number, or a row of 0 and 1, for each of {len(features)} '
                         f'images, got {tuple(labels.shape)} of {labels.dtype}')
    broken = int((~features.isfinite().all(1)).sum())
    if broken:
        raise InputError(f'features of {broken} of {len(features)} images are not finite (NaN or infinite): '
                         f'the network has diverged, take another checkpoint')
    if l2.dim() != 1 or not len(l2) or not (l2.isfinite() & (l2 > 0)).all():
        raise InputError(f'l2 weights must be positive numbers, got {l2.tolist()}')
    if not tol > 0 or not balance > 0 or max_iter < 1:
        raise InputError(f'logistic regression needs tol > 0, balance > 0 and max_iter >= 1, got {tol}, {balance} and '
                         f'{max_iter}')
    if labels.dim() == 2:
        if ((labels != 0) & (labels != 1)).any():
            raise InputError('rows of labels must be of 0 and 1 where images have several labels')
        counts = labels.sum(0)
        wrong = ((counts == 0) | (counts == len(labels))).nonzero()[:, 0].tolist()
        if wrong:
            how = 'no' if counts[wrong[0]] == 0 else 'every'
            raise InputError(f'{how} training image has class number {wrong[0]}: its fit needs images with and without')
        return
    if labels.min() < 0:
        raise InputError('class numbers must not be negative')
    counts = labels.bincount()
    if len(counts) < 2:
        raise InputError('all training images have the same class: a task needs two or more')
    missing = (counts == 0).nonzero()[:, 0].tolist()
    if missing:
        raise InputError(f'class number {missing[0]} has no training image')
