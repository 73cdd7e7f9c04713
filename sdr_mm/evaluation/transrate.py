"""TransRate (Huang et al. 2022): the information that features and labels share, by coding rates."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from .labeled_features import Array, labeled_features


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
        InputError: If images have several labels or ``eps`` is not positive; else see
            :func:`labeled_features`.
    """
    if not eps > 0:
        raise InputError(f'the distortion of TransRate must be positive, got {eps}')
    x, y = labeled_features(features, labels, 'TransRate')
    x = x - x.mean(0)
    numbers = y.argmax(1)
    classes = [_rate(x[numbers == number], eps) for number in range(y.shape[1])]
    return float(_rate(x, eps) - torch.stack(classes).mean())


def _rate(x: Tensor, eps: float) -> Tensor:
    """Coding rate; the determinant is the same for ``xᵀx`` and ``xxᵀ``, so the smaller is taken."""
    count, size = x.shape
    gram = x @ x.T if count < size else x.T @ x
    matrix = gram / (count * eps)
    matrix.diagonal().add_(1)
    return torch.linalg.cholesky(matrix).diagonal().log().sum()
