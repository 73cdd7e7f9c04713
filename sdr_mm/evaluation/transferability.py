"""Scores of frozen features for a task that train nothing: LogME, the regularized H-score and TransRate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .checks import Array, check_finite, check_labeled

STEP = 0.5
"""Distance of the points, in nats of λ, among which the maximum is looked for before it is refined."""

REFINEMENTS = 32
"""Golden-section steps. The bracket of two STEP shrinks to 2e-7, where the evidence is flat to rounding."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def h_score(features: Array, labels: Array) -> float:
    """``tr(Σ_α⁻¹ · (1 − α) · cov(E[f | y]))`` with the shrunk covariance ``Σ_α = (1 − α) Σ + α tr(Σ)/d · I``.

    The shrinkage α is Ledoit and Wolf's (2004); the covariance of the class means is scaled by ``1 − α`` to
    match (Ibrahim et al. 2021, section 3). All covariances divide by n.

    Args:
        features (Array): (n, d). There may be fewer images than dimensions.
        labels (Array): (n,) class numbers. A class may have one image.

    Returns:
        float: From 0 (class means all equal, or features constant) to ``classes − 1``. Higher is better.

    Raises:
        InputError: If features are not finite, shapes do not fit, there is only one class, or the labels do not suit.
    """
    x, y = _prepared(features, labels, 'the H-score')
    x = x - x.mean(0)
    count, size = x.shape
    weights = y / y.sum(0)  # (n, classes): class means are weightsᵀ x.
    share = y.mean(0)
    # With more dimensions than images, means and covariance are in the span of the images, and
    # (aI + b xᵀx)⁻¹xᵀ = xᵀ(aI + b xxᵀ)⁻¹ leaves a system of n instead of d equations.
    dual = count < size
    gram = x @ x.T if dual else x.T @ x
    shrinkage, scale = _ledoit_wolf(x, gram)
    regular = (1 - shrinkage) / count * gram
    regular.diagonal().add_(shrinkage * scale)
    left = weights if dual else x.T @ weights
    right = gram @ weights if dual else left
    if shrinkage > 1e-12:
        solved = torch.cholesky_solve(right, torch.linalg.cholesky(regular))
    else:  # Only where all images lie at ±v from the mean, so that the covariance has rank 1.
        solved = torch.linalg.pinv(regular, hermitian=True) @ right
    return float((1 - shrinkage) * ((left * solved).sum(0) * share).sum())


def _ledoit_wolf(x: Tensor, gram: Tensor) -> tuple[float, float]:
    """Shrinkage and scale of the target (Ledoit and Wolf 2004, section 3.2) for centered ``x`` (n, d).

    ``gram`` is ``xᵀx`` or ``xxᵀ``, which have the same trace and norm.
    """
    count, size = x.shape
    scale = float(gram.trace()) / count / size
    square = float(gram.square().sum()) / count**2
    spread = square / size - scale**2
    error = (float(x.square().sum(1).square().sum()) / count - square) / count / size
    error = min(error, spread)
    return (error / spread if error > 0 else 0.0), scale


def logme(features: Array, labels: Array) -> float:
    """Mean over the classes of the maximum log evidence of one class against the rest, per image.

    A class has the target vector y of 0 and 1. Under a Bayesian linear model with prior precision α and noise
    precision β its evidence is ``p(y | F) = N(y; 0, β⁻¹I + α⁻¹FFᵀ)`` (You et al. 2021, eq. 2), and the score
    takes the α and β that make it largest.

    Note:
        The paper finds them by MacKay's fixed point. That needs ever more steps where the features say nothing
        (α → ∞) or fit everything (β → ∞, as with more dimensions than images). But given λ = α/β the best β is
        known, and one eigendecomposition yields the evidence for every λ, so the same maximum is looked for
        along λ alone, for all classes at once.

    Args:
        features (Array): (n, d), neither centered nor normalized, as in the paper.
        labels (Array): (n,) class numbers, or (n, classes) of 0 and 1 for several labels each.

    Returns:
        float: In nats. Higher is better; only scores on the same images and labels can be compared.

    Raises:
        InputError: See :func:`h_score`.
    """
    x, y = _prepared(features, labels, 'LogME', multi_label=True)
    energies, explained, rest = _spectrum(x, y)
    variance = y.square().mean(0)
    best = _evidence(variance, torch.zeros_like(variance), len(y))  # λ → ∞: the features are not used at all.
    if len(energies):
        best = torch.maximum(best, _maximum(energies, explained, rest, len(x)))
    return float(best.mean())


def _spectrum(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared singular values ``(r,)``, the squared share of y on each ``(r, classes)``, and what is left of |y|²."""
    if len(x) <= x.shape[1]:
        energies, left = torch.linalg.eigh(x @ x.T)
        explained = (left.T @ y).square()
    else:
        energies, right = torch.linalg.eigh(x.T @ x)
        explained = (right.T @ (x.T @ y)).square() / energies.clamp(min=torch.finfo(x.dtype).tiny)[:, None]
    kept = energies > energies[-1] * max(x.shape) * torch.finfo(x.dtype).eps
    energies, explained = energies[kept], explained[kept]
    length = y.square().sum(0)
    if len(energies) == len(x):
        return energies, explained, torch.zeros_like(length)
    # What is below this is rounding; a perfect fit would have an infinite evidence.
    return energies, explained, torch.maximum(length - explained.sum(0), 1e-12 * length)


def _evidence(variance: Tensor, log_determinant: Tensor, count: int) -> Tensor:
    """Per image, at the best β: 1/β is ``variance`` and the rest of the covariance has this determinant."""
    return -0.5 * (torch.log(2 * math.pi * variance) + 1 + log_determinant / count)


def _maximum(energies: Tensor, explained: Tensor, rest: Tensor, count: int) -> Tensor:
    """The highest evidence of each class along λ."""

    def evidence(log_ratio: Tensor) -> Tensor:  # (classes,) → (classes,)
        ratio = log_ratio.exp()
        variance = ((ratio / (ratio + energies[:, None]) * explained).sum(0) + rest) / count
        return _evidence(variance, torch.log1p(energies[:, None] / ratio).sum(0), count)

    low, high = float(energies[0].log()) - 32, float(energies[-1].log()) + math.log(count) + 16
    points = torch.arange(low, high, STEP, dtype=energies.dtype, device=energies.device)
    ratio = points.exp()[:, None]
    values = _evidence((ratio / (ratio + energies) @ explained + rest) / count,
                       torch.log1p(energies / ratio).sum(1, keepdim=True), count)
    peak = points[values.argmax(0)]

    left, right = peak - STEP, peak + STEP
    inner, outer = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_inner, at_outer = evidence(inner), evidence(outer)
    for _ in range(REFINEMENTS):
        lower = at_inner > at_outer  # The maximum is left of `outer`.
        left, right = torch.where(lower, left, inner), torch.where(lower, outer, right)
        fresh = torch.where(lower, right - _GOLDEN * (right - left), left + _GOLDEN * (right - left))
        at_fresh = evidence(fresh)
        inner, outer = torch.where(lower, fresh, outer), torch.where(lower, inner, fresh)
        at_inner, at_outer = torch.where(lower, at_fresh, at_outer), torch.where(lower, at_inner, at_fresh)
    return torch.maximum(at_inner, at_outer)


def transrate(features: Array, labels: Array, *, eps: float = 1e-4) -> float:
    """``R(Z, ε) − R(Z, ε | Y)``: rate of all centered features less the mean of the classes' rates.

    ``R(Z, ε) = ½ log det(I + ZᵀZ / (n ε))`` is the rate of n features at distortion ε, and ``R(Z, ε | Y)`` the
    mean over the classes of the rate of a class's features, which are centered by the mean of all, as in the
    paper's listing. Both depend on the scale of the features.

    Args:
        features (Array): (n, d). There may be fewer images than dimensions.
        labels (Array): (n,) class numbers. A class may have one image.
        eps (float): Distortion ε, positive. Defaults to 1e-4, as in the paper.

    Returns:
        float: In nats. Higher is better.

    Raises:
        InputError: If ``eps`` is not positive; else see :func:`h_score`.
    """
    if not eps > 0:
        raise InputError(f'the distortion of TransRate must be positive, got {eps}')
    x, y = _prepared(features, labels, 'TransRate')
    x = x - x.mean(0)
    return float(_rate(x, eps) - torch.stack([_rate(x[members.bool()], eps) for members in y.T]).mean())


def _rate(x: Tensor, eps: float) -> Tensor:
    """Coding rate; the determinant is the same for ``xᵀx`` and ``xxᵀ``, so the smaller is taken."""
    count, size = x.shape
    matrix = (x @ x.T if count < size else x.T @ x) / (count * eps)
    matrix.diagonal().add_(1)
    rate: Tensor = torch.linalg.cholesky(matrix).diagonal().log().sum()
    return rate


def _prepared(features: Array, labels: Array, score: str, multi_label: bool = False) -> tuple[Tensor, Tensor]:
    """Features (n, d) and labels (n, classes) of 0 and 1 in float64; class numbers without an image are left out."""
    features = torch.as_tensor(features)
    labels = torch.as_tensor(labels).to(features.device)
    check_labeled(features, labels, score)
    check_finite(features)
    if labels.dim() == 2:
        if not multi_label:
            raise InputError(f'{score} takes one label for an image, these have several: score them by LogME or kNN')
        empty = (labels == 0).all(0).nonzero()
        if len(empty):
            raise InputError(f'{score}: no image has class number {int(empty[0])}: leave the class out, or give images '
                             f'of it')
        return features.double(), labels.double()
    number = labels.unique(return_inverse=True)[1]
    if int(number.max()) == 0:
        raise InputError(f'{score} needs images of at least two classes: these have one')
    return features.double(), torch.nn.functional.one_hot(number).double()
