"""SimSiam on an SDRNet (eq. 1, 3 and 4; Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import InputError
from ..registry import MODELS
from ..space import SUPERNET
from .distillation import Views, negative_cosine
from .sliced import PathLike


@MODELS.register_module()
class SimSiamSDR(BaseSelfSupervisor):
    """Trains the network that each batch carries: the super-net on ``D_0``, sub-net ``i`` on ``D_i``.

    The super-net's loss is SimSiam's, eq. (1). A sub-net adds the distillation from the super-net,
    which runs on the same views without gradient and without updating its statistics. A batch with
    images of two networks (a joint iteration) has the sum of both losses, eq. (3).

    Args:
        backbone (dict | nn.Module): The :class:`SDRResNet`.
        neck (dict): The projector, an :class:`SDRNonLinearNeck`; its ``in_channels`` may be left out.
        head (dict): MMPretrain's ``LatentPredictHead`` whose predictor is an
            :class:`SDRNonLinearNeck`.
        distillation (dict, optional): :class:`SiamKDLoss` or :class:`L2KDLoss`; ``None`` trains
            without. Defaults to ``dict(type='SiamKDLoss')``.
        pretrained (str, optional): Checkpoint to start from. Defaults to None.
        data_preprocessor (dict, optional): As in MMPretrain. Defaults to None.
        init_cfg (dict, optional): Initialization. Defaults to None.

    Note:
        ``ClusterDataset`` writes the network into each data sample (``data_sample.network``, an index
        of ``backbone.space``, or ``SUPERNET``).
    """

    def __init__(self,
                 backbone: dict | nn.Module,
                 neck: dict,
                 head: dict,
                 distillation: dict | None = dict(type='SiamKDLoss'),
                 pretrained: str | None = None,
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | None = None) -> None:
        network = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        if isinstance(neck, dict):
            neck = MODELS.build({'in_channels': network.out_layout, **neck})
        super().__init__(network, neck, head, pretrained=pretrained, data_preprocessor=data_preprocessor,
                         init_cfg=init_cfg)
        self.distillation = None if distillation is None else MODELS.build(distillation)

    def project(self, image: Tensor, path: PathLike | None, update_stats: bool = True) -> Tensor:
        """``f_W(x)``: the projection ``(N, C)`` of images ``(N, 3, H, W)`` by the network on ``path``."""
        return self.neck(self.backbone(image, path, update_stats), path, update_stats)[0]

    def predict(self, projection: Tensor, path: PathLike | None) -> Tensor:
        """``h(f_W(x))``: the prediction ``(N, C)`` from a projection ``(N, C)``."""
        return self.head.predictor((projection, ), path)[0]

    def network_loss(self, views: Sequence[Tensor], network: int) -> dict[str, Tensor]:
        """Losses of one network on two views of its images.

        Args:
            views (Sequence[Tensor]): Two tensors ``(N, 3, H, W)``.
            network (int): ``SUPERNET`` or the index of a sub-net.

        Returns:
            dict[str, Tensor]: ``loss_ssl``; ``loss_kd`` for a sub-net; ``std_ratio``, the standard
            deviation of the l2-normalized projection times √C: 1 is uniform, 0 is collapse.
        """
        path = None if network == SUPERNET else self.backbone.space.path(network)
        projections: Views = (self.project(views[0], path), self.project(views[1], path))
        predictions: Views = (self.predict(projections[0], path), self.predict(projections[1], path))
        ssl = (negative_cosine(predictions[0], projections[1]) + negative_cosine(predictions[1], projections[0])) / 2
        losses = dict(loss_ssl=ssl, std_ratio=std_ratio(projections[0]))
        if path is not None and self.distillation is not None:
            with torch.no_grad():
                teacher: Views = (self.project(views[0], None, False), self.project(views[1], None, False))
            losses['loss_kd'] = self.distillation(predictions, projections, teacher)
        return losses

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs: Any) -> dict[str, Tensor]:
        """Losses of the networks that a batch carries.

        Args:
            inputs (list[Tensor]): Two views ``(N, 3, H, W)``.
            data_samples (list[DataSample]): One for each image, with its ``network``.

        Returns:
            dict[str, Tensor]: As :meth:`network_loss`, and ``network``, the index drawn. In a joint
            iteration these are the sub-net's, and the super-net's have the suffix ``_supernet``.
        """
        spans = list(_spans(data_samples))
        losses: dict[str, Tensor] = {}
        for network, span in spans:
            suffix = '_supernet' if network == SUPERNET and len(spans) > 1 else ''
            part = self.network_loss([view[span] for view in inputs], network)
            losses.update({name + suffix: value for name, value in part.items()})
            if not suffix:
                losses['network'] = inputs[0].new_tensor(float(network))
        return losses


def _spans(data_samples: Sequence[DataSample]) -> Iterator[tuple[int, slice]]:
    """Splits a batch where its network changes."""
    networks = [sample.get('network') for sample in data_samples]
    if None in networks:
        raise InputError("the batch carries no network: let train_dataloader.dataset be a 'ClusterDataset' and "
                         "train_dataloader.batch_sampler a 'ClusterAwareSampler'")
    start = 0
    for stop in range(1, len(networks) + 1):
        if stop == len(networks) or networks[stop] != networks[start]:
            yield int(networks[start]), slice(start, stop)
            start = stop


@torch.no_grad()
def std_ratio(projection: Tensor) -> Tensor:
    """Standard deviation of the l2-normalized ``projection`` ``(N, C)`` over the batch, times √C."""
    normalized = F.normalize(projection.float(), dim=1)
    return normalized.std(dim=0, correction=0).mean() * projection.shape[1]**0.5
