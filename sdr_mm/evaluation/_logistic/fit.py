"""One entry to logistic regression: the data in their principal axes, one l2 weight after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ..checks import Array, check_finite, check_labeled
from .losses import Binary, Loss, Softmax
from .newton import Minimum, minimize

_ROWS = 8192
_AHEAD = {1: (1, ), 2: (-1, 2), 3: (1, -3, 3)}


@dataclass(frozen=True)
class LogisticFit:
    """Linear classifiers, one for each of L l2 weights."""

    weights: Tensor  # (L, c, r), in the coordinates of `basis`
    intercepts: Tensor  # (L, c), at the mean of the training features
    basis: Tensor  # (d, r), orthonormal
    mean: Tensor  # (d,) of the training features
    gradients: Tensor  # (L,) bounds of the entries of the gradient over n, for features as they are
    iterations: Tensor  # (L,) int64 steps; where a weight has a fit for each class, the most
    converged: Tensor  # (L,) bool, whether the gradient came down to what was asked for

    def scores(self, features: Array) -> Iterator[Tensor]:
        """Yields for each l2 weight the scores (n, c), whose softmax, or sigmoid, is the probability."""
        values = _rotate(torch.as_tensor(features).to(self.mean.device), self.mean, self.basis)
        for weights, intercepts in zip(self.weights, self.intercepts):
            yield values @ weights.T + intercepts

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Weights (L, c, d) and intercepts (L, c) for features as they are."""
        weights = self.weights @ self.basis.T
        return weights, self.intercepts - weights @ self.mean


def fit_logistic(features: Array, labels: Array, l2: Sequence[float], *, tol: float = 1e-4, balance: float = 0.01,
                 max_iter: int = 1000) -> LogisticFit:
    """Minimizes ``Σ loss + l2 / 2 · ‖W‖²`` for each weight ``l2``; the intercepts are free.

    The loss is the cross entropy of a softmax over all classes, also where there are two; with several
    labels for an image each class is such a fit against the rest. That is the objective of ssl-transfer,
    where ``C = 1 / l2``. scikit-learn's for two classes is the same at half the l2: the two weight vectors
    of a softmax are opposite, so together they pay half of what their difference alone would.

    Note:
        Three changes of variables leave the objective what it is and make it easy: the mean is taken from the features,
        which the intercepts absorb; they are rotated to their principal axes, because the penalty does not depend on
        the basis; and axes along which no image lies, where the weights are zero, are left out. There the Hessian is
        nearly diagonal. The largest weight is fitted first, and each of the others begins where those before it lead.

    Args:
        features (Array): (n, d). The work is done, and the fit is, on their device.
        labels (Array): (n,) class numbers from 0, each of which occurs; or (n, c) of 0 and 1.
        l2 (Sequence[float]): Positive.
        tol (float): Largest entry of the gradient over n of a converged fit, as scikit-learn's. What is compared
            is a bound from above, about 5 times as strict. Defaults to 1e-4.
        balance (float): Largest ratio of the gradient to that of the penalty alone of a converged fit, so that a
            small penalty has an effect too, whatever the scale of the features. Defaults to 0.01.
        max_iter (int): Most steps of a fit, each about as much work as a gradient. Defaults to 1000.

    Raises:
        InputError: If features are not finite or all equal, there are fewer than two classes, a class has
            no image or all of them, or an option is out of range.
    """
    features = torch.as_tensor(features)
    labels = torch.as_tensor(labels).to(features.device)
    given = torch.as_tensor(l2, dtype=torch.float64, device=features.device)
    _check(features, labels, given, tol, balance, max_iter)
    mean, basis, values = principal_axes(features)
    # The intercepts' column is so high that its gradient, part of that for features as they are, is not overlooked.
    lever = max(1., float(mean.abs().max()))
    values = torch.cat([values, torch.full_like(values[:, :1], lever)], 1)
    loss: Loss
    if labels.dim() == 1 and labels.max() > 1:
        loss, share = Softmax(values, labels), 1.
    else:
        loss, share = Binary(values, labels.T if labels.dim() == 2 else labels[None]), 0.5
    start = loss.start()
    fits: list[Minimum] = []
    weights, order = given.sort(descending=True)
    for weight in weights:
        penalty = torch.full_like(values[0], share * float(weight) / len(values))
        penalty[-1] = 0
        if fits:
            # The next point of a parabola, a line or a constant through the last solutions.
            last = torch.stack([fit.point for fit in fits[-3:]])
            start = torch.tensordot(last.new_tensor(_AHEAD[len(last)]), last, 1)
        # |g_w + mean · g_b| <= √2 · ‖(g_w, lever · g_b)‖
        fits.append(minimize(loss, penalty, start, tol=tol / 2**0.5, balance=balance, max_steps=max_iter))
    fits = [fits[position] for position in order.argsort().tolist()]
    points = torch.stack([fit.point for fit in fits])
    if labels.dim() == 1 and points.shape[1] == 1:
        points = torch.cat([-points / 2, points / 2], 1)
    return LogisticFit(points[..., :-1], points[..., -1] * lever, basis, mean,
                       given.new_tensor([fit.gradient * 2**0.5 for fit in fits]),
                       torch.tensor([fit.steps for fit in fits]), torch.tensor([fit.converged for fit in fits]))


def principal_axes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,), basis (d, r) and coordinates (n, r) of the features in their principal axes, float64.

    The basis is orthonormal to rounding whatever their condition; only the coordinates' independence suffers from it.
    """
    n, d = features.shape
    mean = torch.stack([part.double().sum(0) for part in features.split(_ROWS)]).sum(0) / n
    if n < d:
        span = torch.linalg.qr((features.double() - mean).T).Q  # All images lie in a space of n dimensions.
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


def _check(features: Tensor, labels: Tensor, l2: Tensor, tol: float, balance: float, max_iter: int) -> None:
    check_labeled(features, labels, 'logistic regression')
    check_finite(features)
    if l2.dim() != 1 or not len(l2) or not (l2.isfinite() & (l2 > 0)).all():
        raise InputError(f'l2 weights must be positive numbers, got {l2.tolist()}')
    if not tol > 0 or not balance > 0 or max_iter < 1:
        raise InputError(f'logistic regression needs tol > 0, balance > 0 and max_iter >= 1, got {tol}, {balance} and '
                         f'{max_iter}')
    counts = labels.sum(0) if labels.dim() == 2 else labels.bincount()
    if len(counts) < 2 and labels.dim() == 1:
        raise InputError('all training images have the same class: a task needs two or more')
    for number, count in enumerate(counts.tolist()):
        if count == 0 or count == len(labels):
            raise InputError(f'{"every" if count else "no"} training image has class number {number}: its fit needs '
                             'images with and without')
