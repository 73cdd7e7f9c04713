"""Inverse Hessians that L-BFGS begins with, for many problems at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Diagonal:
    """``H0 = root²``, entry by entry.

    An inverse Hessian ``H0 = M Mᵀ`` gives coordinates in which it is the identity. All methods take and
    return (b, m, r, q), m vectors for each problem.

    Args:
        root (Tensor): (b, r, q), positive.
    """

    root: Tensor

    def step(self, coordinates: Tensor) -> Tensor:
        """``M x``: from coordinates to a step."""
        return coordinates * self.root[:, None]

    def coordinates(self, steps: Tensor) -> Tensor:
        """The inverse of :meth:`step`."""
        return steps / self.root[:, None]

    def slope(self, gradients: Tensor) -> Tensor:
        """``Mᵀ g``: the gradient with respect to the coordinates."""
        return gradients * self.root[:, None]

    def gradient(self, slopes: Tensor) -> Tensor:
        """The inverse of :meth:`slope`."""
        return slopes / self.root[:, None]

    def take(self, which: Tensor) -> Diagonal:
        """Those of some problems."""
        return Diagonal(self.root[which])

    def put(self, which: Tensor, other: Diagonal) -> Diagonal:
        """These, but for some problems the others."""
        return Diagonal(torch.where(which[:, None, None], other.root, self.root))


@dataclass(frozen=True)
class Blocks:
    """``H0 = P B⁻¹ P`` with a block ``B = L Lᵀ`` for each row and the projection ``P`` on rows whose sum is zero.

    Outside that space softmax regression has no curvature but that of the penalty, and neither steps nor
    gradients leave it. A single row is not projected. The methods are those of :class:`Diagonal`.

    Args:
        lower (Tensor): (b, r, q, q), ``L``.
    """

    lower: Tensor

    def step(self, coordinates: Tensor) -> Tensor:
        return _project(_back(torch.linalg.solve_triangular(self.lower.mT, _columns(coordinates), upper=True)))

    def coordinates(self, steps: Tensor) -> Tensor:
        return _back(self.lower.mT @ _columns(steps))

    def slope(self, gradients: Tensor) -> Tensor:
        return _back(torch.linalg.solve_triangular(self.lower, _columns(_project(gradients)), upper=False))

    def gradient(self, slopes: Tensor) -> Tensor:
        return _back(self.lower @ _columns(slopes))

    def take(self, which: Tensor) -> Blocks:
        return Blocks(self.lower[which])

    def put(self, which: Tensor, other: Blocks) -> Blocks:
        return Blocks(torch.where(which[:, None, None, None], other.lower, self.lower))


Preconditioner = Diagonal | Blocks


def _columns(vectors: Tensor) -> Tensor:
    return vectors.permute(0, 2, 3, 1)


def _back(columns: Tensor) -> Tensor:
    return columns.permute(0, 3, 1, 2)


def _project(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(2, keepdim=True) if vectors.shape[2] > 1 else vectors
