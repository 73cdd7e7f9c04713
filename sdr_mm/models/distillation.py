"""Distillation from the super-net to a sub-net (section 4.2, "Task-customized knowledge distillation")."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS

Views = tuple[Tensor, Tensor]
"""The same quantity for the two views of a batch, each ``(N, C)``."""


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine similarity, eq. (1) and (4) as a loss, with stop-gradient on ``target``.

    Both are normalized in float32, whatever autocast made of them: in half precision SimSiam loses half a point.

    Args:
        prediction (Tensor): ``(N, C)``.
        target (Tensor): ``(N, C)``.

    Returns:
        Tensor: A scalar in [-1, 1].
    """
    prediction = F.normalize(prediction.float(), dim=1)
    target = F.normalize(target.detach().float(), dim=1)
    return -(prediction * target).sum(dim=1).mean()


def cross_view_loss(predictions: Views, targets: Views) -> Tensor:
    """Mean of :func:`negative_cosine` of the prediction of each view and the target of the other, eq. (1)."""
    return (negative_cosine(predictions[0], targets[1]) + negative_cosine(predictions[1], targets[0])) / 2


class DistillationLoss(nn.Module, metaclass=ABCMeta):
    """Pulls a sub-net towards the super-net.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = float(loss_weight)

    @abstractmethod
    def forward(self, predictions: Views, projections: Views, teacher: Views) -> Tensor:
        """The loss, a scalar, averaged over images and views.

        Args:
            predictions (tuple[Tensor, Tensor]): ``h(f_Wi(x))`` of both views.
            projections (tuple[Tensor, Tensor]): ``f_Wi(x)`` of both views.
            teacher (tuple[Tensor, Tensor]): ``f_W0(x)`` of both views; no gradient reaches it.
        """


@MODELS.register_module()
class SiamKDLoss(DistillationLoss):
    """The negative of eq. (4): the sub-net's prediction of one view against the super-net's projection of the other."""

    def forward(self, predictions: Views, projections: Views, teacher: Views) -> Tensor:
        return self.loss_weight * cross_view_loss(predictions, teacher)


@MODELS.register_module()
class L2KDLoss(DistillationLoss):
    """The alternative of section 5.3: mean squared distance between the projections of the same view."""

    def forward(self, predictions: Views, projections: Views, teacher: Views) -> Tensor:
        (z1, z2), (t1, t2) = projections, teacher
        distance = F.mse_loss(z1.float(), t1.detach().float()) + F.mse_loss(z2.float(), t2.detach().float())
        return self.loss_weight * distance / 2
