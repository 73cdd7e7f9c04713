"""BYOL on an SDRNet: the target of each network is its path through an average of the super-net's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.utils import CosineEMA
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..registry import MODELS
from .distillation import Views, cross_view_loss
from .siamese import SiameseSDR
from .sliced import PathLike

SCALE = 4
"""BYOL's loss is the sum of two squared distances between unit vectors, ``2 - 2 cos`` each, and eq. (1) half the sum of
two cosines: four times as much, but for a constant. The distillation of eq. (4) is scaled with it."""


@MODELS.register_module()
class BYOLSDR(SiameseSDR):
    """BYOL's loss (Grill et al., 2020, eq. 2), as MMPretrain has it, for the network that a batch carries.

    The target is an exponential moving average of the super-net's backbone and projector, updated once in an iteration,
    whichever network that trains; the target of a sub-net is the same path of the averaged weights. For a sub-net the
    teacher of SiamKD, eq. (4), is the target of the super-net, as the loss of BYOL looks at targets only.

    Args:
        head (dict | nn.Module): MMPretrain's ``LatentPredictHead`` whose predictor is an :class:`SDRNonLinearNeck`.
        base_momentum (float): Share of the new weights in the first update, which falls to 0 by a cosine over the
            training; 0.01 is 0.99 in BYOL's own terms. Defaults to 0.004.
        **kwargs: As for :class:`~sdr_mm.models.siamese.SiameseSDR`.
    """

    def __init__(self, *args: Any, base_momentum: float = 0.004, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The name and layout are those of MMPretrain's BYOL.
        self.target_net = CosineEMA(nn.Sequential(self.backbone, self.neck), momentum=base_momentum)

    def predict(self, projection: Tensor, path: PathLike | None) -> Tensor:
        """The prediction ``(N, C)`` of a target from a projection ``(N, C)``."""
        prediction: Tensor = self.head.predictor((projection, ), path)[0]
        return prediction

    @torch.no_grad()
    def target(self, image: Tensor, path: PathLike | None) -> Tensor:
        """The averaged network's projection ``(N, C)`` of images ``(N, 3, H, W)``, without gradient."""
        backbone, neck = self.target_net.module
        projection: Tensor = neck(backbone(image, path, False), path, False)[0]
        return projection

    def teach(self, views: Sequence[Tensor]) -> Views:
        """The projections of both views by the super-net's target."""
        return self.target(views[0], None), self.target(views[1], None)

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs: Any) -> dict[str, Tensor]:
        self.target_net.update_parameters(nn.Sequential(self.backbone, self.neck))
        return super().loss(inputs, data_samples, **kwargs)

    def network_loss(self, views: Sequence[Tensor], network: int) -> dict[str, Tensor]:
        path = self.path(network)
        projections: Views = (self.project(views[0], path), self.project(views[1], path))
        predictions: Views = (self.predict(projections[0], path), self.predict(projections[1], path))
        targets: Views = (self.target(views[0], path), self.target(views[1], path))
        losses = dict(loss_ssl=SCALE * cross_view_loss(predictions, targets))
        if path is not None and self.distillation is not None:
            losses['loss_kd'] = SCALE * self.distillation(predictions, projections, self.teach(views))
        return losses
