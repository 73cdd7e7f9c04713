"""The base of siamese algorithms on an SDRNet: each batch names the networks that it trains."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import InputError
from ..registry import MODELS, SCOPE
from ..space import SUPERNET
from .backbone import SDRBackbone
from .distillation import Views
from .sliced import PathLike


class SiameseSDR(BaseSelfSupervisor, metaclass=ABCMeta):
    """Trains the network that each batch carries: the super-net on ``D_0``, sub-net ``i`` on ``D_i``.

    An algorithm defines the loss of one network (:meth:`network_loss`); a batch with images of two networks (a joint
    iteration) has the sum of both, eq. (3).

    Args:
        backbone (dict | nn.Module): An :class:`~sdr_mm.models.backbone.SDRBackbone`.
        neck (dict | nn.Module): The projector, an :class:`SDRNonLinearNeck`; its ``in_channels`` may be left out.
        head (dict | nn.Module): As the algorithm wants it.
        distillation (dict | nn.Module, optional): :class:`SiamKDLoss` or :class:`L2KDLoss`; None: without. Defaults to
            ``dict(type='SiamKDLoss')``.
        pretrained (str, optional): Weights to start from, as for MMPretrain's algorithms. Defaults to None.
        data_preprocessor (dict | nn.Module, optional): What normalizes the images. Defaults to None, MMPretrain's
            ``SelfSupDataPreprocessor``.
        init_cfg (dict, optional): Initialization, as for MMPretrain's algorithms. Defaults to None.

    Note:
        ``ClusterDataset`` writes the network into each data sample (``data_sample.network``, an index of
        ``backbone.space``, or ``SUPERNET``).
    """

    backbone: SDRBackbone
    paths: Tensor | None

    def __init__(self,
                 backbone: dict[str, Any] | nn.Module,
                 neck: dict[str, Any] | nn.Module,
                 head: dict[str, Any] | nn.Module,
                 distillation: dict[str, Any] | nn.Module | None = dict(type='SiamKDLoss'),
                 pretrained: str | None = None,
                 data_preprocessor: dict[str, Any] | nn.Module | None = None,
                 init_cfg: dict[str, Any] | None = None) -> None:
        network = _build(backbone)
        if isinstance(neck, dict):
            neck = _build({'in_channels': network.out_layout, **neck})
        preprocessor = data_preprocessor if isinstance(data_preprocessor, nn.Module) else _build(
            {'type': 'SelfSupDataPreprocessor', **(data_preprocessor or {})})
        super().__init__(network, neck, pretrained=pretrained, data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.head = _build(head)
        self.distillation = None if distillation is None else _build(distillation)
        self.register_buffer('paths', None, persistent=False)

    @abstractmethod
    def network_loss(self, views: Sequence[Tensor], network: int) -> dict[str, Tensor]:
        """Losses of one network on two views of its images.

        Args:
            views (Sequence[Tensor]): Two tensors ``(N, 3, H, W)``.
            network (int): ``SUPERNET`` or the index of a sub-net.

        Returns:
            dict[str, Tensor]: ``loss_ssl``; ``loss_kd`` for a sub-net.
        """

    def path(self, network: int) -> PathLike | None:
        """The path of a network: ``None`` for ``SUPERNET``."""
        if network == SUPERNET:
            return None
        return self.backbone.space.path(network) if self.paths is None else self.paths[network]

    def use_path_tensors(self) -> None:
        """Lets :meth:`path` give tensors from now on, for a compiled backbone: one graph then serves all sub-nets.

        They are rows of one table beside the weights, so a GPU does not wait for them.
        """
        self.paths = torch.tensor(self.backbone.space.paths, device=next(self.parameters()).device)

    def project(self, image: Tensor, path: PathLike | None, update_stats: bool = True) -> Tensor:
        """``f_W(x)``: the projection ``(N, C)`` of images ``(N, 3, H, W)`` by the network on ``path``."""
        projection: Tensor = self.neck(self.backbone(image, path, update_stats), path, update_stats)[0]
        return projection

    @torch.no_grad()
    def teach(self, views: Sequence[Tensor]) -> Views:
        """The super-net's projections of both views, without gradient and without updating its statistics."""
        device = views[0].device.type
        # Autocast would keep the weights that it casts here, without gradient, for the student.
        with torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), False):
            return self.project(views[0], None, False), self.project(views[1], None, False)

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs: Any) -> dict[str, Tensor]:
        """Losses of the networks that a batch carries.

        Args:
            inputs (list[Tensor]): Two views ``(N, 3, H, W)``.
            data_samples (list[DataSample]): One for each image, with its ``network``.

        Returns:
            dict[str, Tensor]: As :meth:`network_loss`, and ``network``, the index drawn. In a joint iteration these
            are the sub-net's, and the super-net's have the suffix ``_supernet``.
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


def _build(part: dict[str, Any] | nn.Module) -> Any:
    # In our scope, whatever the default one is, so that a config may use plain names without a Runner too.
    return MODELS.build({'_scope_': SCOPE, **part}) if isinstance(part, dict) else part


def _spans(data_samples: Sequence[DataSample]) -> Iterator[tuple[int, slice]]:
    """Splits a batch where its network changes."""
    networks = [sample.get('network') for sample in data_samples]
    if None in networks:
        raise InputError("the batch carries no network: let train_dataloader.dataset be a 'ClusterDataset' and "
                         "train_dataloader.batch_sampler a 'ClusterAwareSampler'")
    start = 0
    for network, group in groupby(networks):
        stop = start + len(list(group))
        yield int(network), slice(start, stop)
        start = stop
