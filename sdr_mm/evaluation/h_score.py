"""The regularized H-score (Ibrahim et al. 2021): how much of the features' variance lies between classes."""

from __future__ import annotations

import torch
from torch import Tensor

from .labeled_features import Array, labeled_features


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
        InputError: If images have several labels; else see :func:`labeled_features`.
    """
    x, y = labeled_features(features, labels, 'the H-score')
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
    """Shrinkage and scale of the target for centered rows (Ledoit and Wolf 2004, section 3.2).

    Args:
        x (Tensor): (n, d), centered.
        gram (Tensor): ``xᵀx`` or ``xxᵀ``, which have the same trace and norm.
    """
    count, size = x.shape
    scale = float(gram.trace()) / count / size
    square = float(gram.square().sum()) / count**2
    spread = square / size - scale**2
    error = (float(x.square().sum(1).square().sum()) / count - square) / count / size
    error = min(error, spread)
    return (error / spread if error > 0 else 0.0), scale

