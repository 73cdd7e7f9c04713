"""SimCLR on an SDRNet: a contrastive algorithm, which learns features within a small budget."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_dist_info
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from ..registry import MODELS
from .distillation import Views
from .siamese import SiameseSDR


@MODELS.register_module()
class SimCLRSDR(SiameseSDR):
    """InfoNCE among the images of the batch (Chen et al., 2020, eq. 1), for the network that a batch carries.

    Not one of the paper's algorithms. It is for runs of minutes and hours, in which SimSiam and BYOL have not learned
    features that sub-nets could specialize. The negatives of a sub-net are images of its own cluster.

    There is no predictor, so distillation takes the projection in its place: with :class:`SiamKDLoss` the sub-net's
    projection of one view is drawn to the super-net's of the other.

    Args:
        head (dict | nn.Module): MMPretrain's ``ContrastiveHead``, which has the temperature.
        **kwargs: As for :class:`~sdr_mm.models.siamese.SiameseSDR`.
    """

    def network_loss(self, views: Sequence[Tensor], network: int) -> dict[str, Tensor]:
        path = self.path(network)
        projections: Views = (self.project(views[0], path), self.project(views[1], path))
        losses = dict(loss_ssl=self.head.loss(*similarities(projections)))
        if path is not None and self.distillation is not None:
            losses['loss_kd'] = self.distillation(projections, projections, self.teach(views))
        return losses


def similarities(projections: Views) -> tuple[Tensor, Tensor]:
    """Cosine of each projection of this rank with its other view, and with the projections of all other images.

    The other images are those of all ranks. Their gradient flows back to the rank that they come from, so that the
    mean over ranks, which DDP takes, is the gradient of the loss of the whole batch. Computed in float32.

    Args:
        projections (tuple[Tensor, Tensor]): Two views, each ``(n, C)``.

    Returns:
        tuple[Tensor, Tensor]: ``(2n, 1)``, and ``(2n, 2nR - 2)`` for R ranks.
    """
    with torch.autocast(projections[0].device.type, enabled=False):
        own = F.normalize(torch.cat(projections).float(), dim=1)
        rank, ranks = get_dist_info()
        everyone = torch.cat(all_gather(own)) if ranks > 1 else own
        cosine = own @ everyone.T
    count = len(own)
    row = torch.arange(count, device=own.device)
    itself, pair = rank * count + row, rank * count + (row + count // 2) % count
    others = torch.ones_like(cosine, dtype=torch.bool)
    others[row, itself] = others[row, pair] = False
    return cosine[row, pair].unsqueeze(1), cosine[others].view(count, -1)
