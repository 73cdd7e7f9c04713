"""Logistic regression for many l2 weights at once, to the optimum, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .lbfgs import VECTORS, Evaluation, Minima, minimize
from .preconditioner import Blocks, Diagonal, Preconditioner

Array = np.ndarray | Tensor

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
    """Minimizes ``Σ loss + l2 / 2 · ‖W‖²`` for each weight ``l2``; the intercepts are free.

    The loss is the cross entropy of a softmax over all classes, also where there are two; with several
    labels for an image each class is such a fit against the rest. That is the objective of ssl-transfer,
    where ``C = 1 / l2``. scikit-learn's for two classes is the same at half the l2: the two weight vectors
    of a softmax are opposite, so together they pay half of what their difference alone would.

    Note:
        Three changes of variables leave the objective what it is and make it easy: the mean is taken from
        the features, which the intercepts absorb; they are rotated to their principal axes, because the
        penalty does not depend on the basis; and axes along which no image lies, where the weights are
        zero, are left out. There the Hessian is nearly diagonal. Every eighth weight is fitted first, and
        those between begin where a cubic through their neighbors' solutions says. A fit that is not done
        soon goes on with the Hessian's blocks of single classes as a preconditioner.

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
        memory (int): Bytes for the problems solved together. With less, it takes longer. Defaults to
            :data:`MEMORY`.

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
    found = _solve(objective, objective.start(lever), len(weights), max_iter, memory)
    points, back = found.points, order.argsort()
    if labels.dim() == 1 and points.shape[1] == 1:
        points = torch.cat([-points / 2, points / 2], 1)
    return LogisticFit(given, points[back, :, :-1], points[back, :, -1] * lever, basis, mean,
                       found.gradients[back] * 2**0.5, found.iterations[back], found.converged[back], found.evaluations)


def _solve(objective: _Objective, start: Tensor, count: int, max_iter: int, memory: int) -> Minima:
    """Minimizes the objectives of ``count`` ascending weights, each from ``start`` (fits, r, q)."""
    fits = len(start)
    points = start.repeat(count, 1, 1)
    gradients = points.new_zeros(len(points))
    converged = torch.zeros_like(gradients, dtype=torch.bool)
    iterations = torch.zeros_like(gradients, dtype=torch.int64)
    evaluations = 0

    def fit(some: Tensor, blocks: bool, steps: int) -> None:
        def evaluate(points: Tensor, problems: Tensor, renew: bool) -> Evaluation:
            return objective(points, some[problems] // fits, some[problems] % fits, renew)

        nonlocal evaluations
        objective.blocks = blocks
        minima = minimize(evaluate, points[some], max_iter=steps, period=objective.period if blocks else 8)
        points[some], gradients[some], converged[some] = minima.points, minima.gradients, minima.converged
        iterations[some] += minima.iterations
        evaluations += minima.evaluations

    patience = min(max_iter, objective.patience) if objective.bytes_of_blocks <= memory else max_iter
    solved: list[int] = []
    for level in _levels(count):
        points.view(count, -1)[level] = _between(points.view(count, -1), solved, level)
        those = (torch.tensor(level, device=points.device)[:, None] * fits +
                 torch.arange(fits, device=points.device)).flatten()
        for part in those.split(max(1, memory // objective.bytes_per_problem)):
            fit(part, False, patience)
        hard = those[~converged[those]] if patience < max_iter else those[:0]
        for part in hard.split(max(1, memory // objective.bytes_of_blocks)) if len(hard) else []:
            fit(part, True, max_iter - patience)
        solved = sorted(solved + level)
    points = points.view(count, -1, points.shape[2])
    gradients, converged, iterations = (found.view(count, fits) for found in (gradients, converged, iterations))
    return Minima(points, gradients.amax(1), converged.all(1), iterations.amax(1), evaluations)


def _levels(count: int) -> list[list[int]]:
    """Positions of the weights by the turns in which they are fitted: every eighth one, then those between.

    They are counted from the largest, because small ones are hard to fit without a good start.
    """
    levels: list[list[int]] = []
    done: set[int] = set()
    for stride in (8, 4, 2, 1):
        level = sorted({*range(count - 1, -1, -stride)} - done)
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


class _Objective(ABC):
    """Objectives over n, for each l2 weight one or several fits.

    Points are (b, r, q), the intercept's entry last.
    """

    tol: float
    balance: float
    blocks: bool

    def __init__(self, values: Tensor, l2: Tensor, rows: int) -> None:
        self.values = values
        self.penalty = (l2 / len(values))[:, None, None].repeat(1, 1, values.shape[1])
        self.penalty[:, :, -1] = 0
        self.second = values.square().mean(0)
        n, q = values.shape
        self.bytes_per_problem = 8 * rows * (4 * n + (VECTORS + 16) * q)
        self.bytes_of_blocks = self.bytes_per_problem + 8 * rows * 3 * q**2
        # To measure the blocks takes as long as about q / 4 steps, so that many are tried without them first.
        self.patience, self.period = max(32, q // 4), max(20, q // 8)

    @abstractmethod
    def start(self, lever: float) -> Tensor:
        """Weights of zero and the intercepts that go with them, (fits, r, q)."""

    @abstractmethod
    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, renew: bool) -> Evaluation:
        """What :func:`minimize` asks for: the fits of these numbers for the l2 weights of these numbers."""

    def penalized(self, points: Tensor, weights: Tensor, value: Tensor, gradient: Tensor,
                  confidence: Tensor | None) -> Evaluation:
        """Adds the penalty to the loss, and the rest of an evaluation.

        Args:
            points (Tensor): (b, r, q).
            weights (Tensor): (b,) numbers of their l2 weights.
            value (Tensor): (b,) mean loss.
            gradient (Tensor): (b, r, q) of it.
            confidence (Tensor, optional): (b, r, n), p · (1 - p), where a preconditioner is asked for.
        """
        penalty = self.penalty[weights]
        pull = penalty * points
        value = value + (pull * points).sum((1, 2)) / 2
        limit = (self.balance * pull.norm(dim=2).amax(1)).clamp(min=FLOOR).clamp(max=self.tol)
        base = None
        if confidence is not None:
            base = self.by_blocks(confidence, penalty) if self.blocks else self.by_diagonal(confidence, penalty)
        return value, gradient.add_(pull), limit, base

    def by_diagonal(self, confidence: Tensor, penalty: Tensor) -> Preconditioner:
        """As if p · (1 - p) depended neither on the features nor on the class.

        One scale for all classes keeps the sum of their weights at zero: along it only the penalty curves.
        """
        # Where all is certain only the penalty is left, and the intercept has none.
        spread = confidence.mean((1, 2)).clamp(min=1e-12)[:, None, None]
        return Diagonal((spread * self.second + penalty).rsqrt().expand(-1, confidence.shape[1], -1))

    def by_blocks(self, confidence: Tensor, penalty: Tensor) -> Preconditioner:
        """The blocks of the Hessian that belong to one class."""
        n, q = self.values.shape
        blocks = torch.stack([(self.values * one[:, None]).T @ self.values for one in confidence.flatten(0, 1)])
        blocks = blocks.view(*confidence.shape[:2], q, q) / n
        diagonal = blocks.diagonal(dim1=2, dim2=3)
        diagonal += penalty + 1e-12 * self.second
        lower, failed = torch.linalg.cholesky_ex(blocks)
        return Blocks(torch.where((failed > 0)[..., None, None], torch.diag_embed(diagonal.sqrt()), lower))


class _Softmax(_Objective):
    """Softmax regression: one fit, with a row for each class."""

    def __init__(self, values: Tensor, labels: Tensor, l2: Tensor) -> None:
        self.labels, self.classes = labels, int(labels.max()) + 1
        super().__init__(values, l2, self.classes)

    def start(self, lever: float) -> Tensor:
        point = self.values.new_zeros(1, self.classes, self.values.shape[1])
        point[0, :, -1] = (self.labels.bincount() / len(self.labels)).double().log() / lever
        return point

    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, renew: bool) -> Evaluation:
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
        confidence = residual.abs() - residual.square() if renew else None
        gradient = (residual.flatten(0, 1) @ self.values).view(points.shape) / n
        return self.penalized(points, weights, value, gradient, confidence)


class _Binary(_Objective):
    """One class against the rest: a fit for each row of labels, of the difference of the two weight vectors."""

    def __init__(self, values: Tensor, labels: Tensor, l2: Tensor) -> None:
        self.sign = 2 * labels.double() - 1
        super().__init__(values, l2, 1)

    def start(self, lever: float) -> Tensor:
        point = self.values.new_zeros(len(self.sign), 1, self.values.shape[1])
        point[:, 0, -1] = ((1 + self.sign.mean(1)) / 2).logit() / lever
        return point

    def __call__(self, points: Tensor, weights: Tensor, fits: Tensor, renew: bool) -> Evaluation:
        n = len(self.values)
        sign = self.sign[fits]
        margin = (points[:, 0] @ self.values.T).mul_(sign)
        value = torch.nn.functional.softplus(-margin, threshold=torch.inf).sum(1) / n
        wrong = margin.neg_().sigmoid_()
        confidence = (wrong - wrong.square())[:, None] if renew else None
        gradient = (wrong.mul_(sign) @ self.values)[:, None] / -n
        return self.penalized(points, weights, value, gradient, confidence)


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
