"""SimSiam on an SDRNet (eq. 1, 3 and 4; Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..registry import MODELS
from .distillation import Views, cross_view_loss
from .siamese import SiameseSDR
from .sliced import PathLike


@MODELS.register_module()
class SimSiamSDR(SiameseSDR):
    """SimSiam's loss, eq. (1), for the network that a batch carries, and SiamKD, eq. (4), for a sub-net.

    Args:
        head (dict | nn.Module): MMPretrain's ``LatentPredictHead`` whose predictor is an :class:`SDRNonLinearNeck`.
        **kwargs: As for :class:`~sdr_mm.models.siamese.SiameseSDR`.
    """

    def predict(self, projection: Tensor, path: PathLike | None) -> Tensor:
        """``h(f_W(x))``: the prediction ``(N, C)`` from a projection ``(N, C)``."""
        prediction: Tensor = self.head.predictor((projection, ), path)[0]
        return prediction

    def network_loss(self, views: Sequence[Tensor], network: int) -> dict[str, Tensor]:
        path = self.path(network)
        projections: Views = (self.project(views[0], path), self.project(views[1], path))
        predictions: Views = (self.predict(projections[0], path), self.predict(projections[1], path))
        losses = dict(loss_ssl=cross_view_loss(predictions, projections))
        if path is not None and self.distillation is not None:
            losses['loss_kd'] = self.distillation(predictions, projections, self.teach(views))
        return losses
