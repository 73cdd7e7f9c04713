"""LogME (You et al. 2021): how probable the labels are as a linear function of the features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .labeled_features import Array, labeled_features

STEP = 0.5
"""Distance of the points, in nats of λ, among which the maximum is looked for before it is refined."""

REFINEMENTS = 32
"""Golden-section steps. The bracket of two STEP shrinks to 2e-7, where the evidence is flat to rounding."""

_GOLDEN = (math.sqrt(5) - 1) / 2


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
        InputError: See :func:`labeled_features`.
    """
    x, y = labeled_features(features, labels, 'LogME', multi_label=True)
    energies, explained, rest = _spectrum(x, y)
    # With λ → ∞ the features are not used at all.
    best = _evidence_unused(y)
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
        rest = torch.zeros_like(length)
    else:  # What is below this is rounding; a perfect fit would have an infinite evidence.
        rest = torch.maximum(length - explained.sum(0), 1e-12 * length)
    return energies, explained, rest


def _evidence(variance: Tensor, log_determinant: Tensor, count: int) -> Tensor:
    """Per image, at the best β: 1/β is ``variance`` and the rest of the covariance has this determinant."""
    return -0.5 * (torch.log(2 * math.pi * variance) + 1 + log_determinant / count)


def _evidence_unused(y: Tensor) -> Tensor:
    variance = y.square().mean(0)
    return _evidence(variance, torch.zeros_like(variance), len(y))


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
