"""What leaves in an export, whatever its format."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..models.backbone import pool_features
from ..models.checkpoints import State
from ..models.eval_settings import EvalSettings
from ..routing.subnet import weights_of
from ..version import __version__
from .pretraining import Pretraining


@dataclass(frozen=True, eq=False)
class Exported:
    """A plain network, and what is known about it.

    Args:
        network (nn.Module): In evaluation mode.
        config (dict): Config of it.
        settings (EvalSettings): Normalization and size of its input.
        meta (dict): How it was cut out and routed, in plain types; see :meth:`sdr_mm.SDR.subnet`.
        pretraining (Pretraining): How it was trained. Defaults to nothing.
        license (str, optional): Of the weights, an SPDX identifier or a text. Defaults to None: not stated.
    """

    network: nn.Module = field(repr=False)
    config: dict[str, Any]
    settings: EvalSettings
    meta: dict[str, Any] = field(default_factory=dict)
    pretraining: Pretraining = Pretraining()
    license: str | None = None

    @cached_property
    def state(self) -> State:
        """All weights, on the CPU.

        Raises:
            NotFiniteError: If one is NaN or infinite.
        """
        return weights_of(self.network)

    @cached_property
    def features(self) -> nn.Module:
        """A copy of the network on the CPU that turns normalized images ``(N, C, H, W)`` into features ``(N, D)``."""
        return _Pooled(deepcopy(self.network).cpu()).eval().requires_grad_(False)

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return int(self.config.get('in_channels', 3))

    @cached_property
    def num_features(self) -> int:
        """Features of an image."""
        return int(self.features(self.noise(1)).shape[1])

    @property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def noise(self, batch: int) -> Tensor:
        """Images ``(batch, C, size, size)`` for a comparison, the same ones each time."""
        size = self.settings.size
        return torch.randn(batch, self.in_channels, size, size, generator=torch.Generator().manual_seed(batch))

    @property
    def record(self) -> str:
        """What a reader has to know, and where the network comes from, as JSON in ASCII. No folder is named in it."""
        keys = ('sdr_checkpoint', 'subnet', 'path', 'bn_reset')
        known: dict[str, Any] = {key: self.meta[key] for key in keys if key in self.meta}
        routing = self.meta.get('routing')
        if routing:
            known['routing'] = dict(task=routing.get('task'), score=routing.get('score'))
        if self.license is not None:
            known['license'] = self.license
        return json.dumps(dict(known, sdr_mm_version=__version__, backbone=self.config,
                               settings=self.settings.record()))

    def check_same(self, other: nn.Module, where: Any) -> None:
        """Compares the features of a network that was read back.

        Args:
            other (nn.Module): Returns features ``(N, D)``, or maps of which the last one is pooled.
            where (Any): What was read, for the message.

        Raises:
            RuntimeError: If it gives other features.
        """
        for batch in (1, 3):
            images = self.noise(batch)
            with torch.no_grad():
                wanted, found = self.features(images), pool_features(other(images))
            if wanted.shape != found.shape or not torch.allclose(
                    found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()), equal_nan=True):
                raise RuntimeError(f'{where} does not give the features of the network that was exported')


class _Pooled(nn.Module):

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return pool_features(self.network(images))
