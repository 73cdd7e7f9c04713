"""The backbones of a detection routing as files that a detector starts from."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cli import progress
from ..errors import NotFiniteError
from ..files import atomic_write
from ..images.store import ImageStore
from ..models.sdr_resnet import SDRResNet
from ..routing.bn_reset import reset_bn
from ..routing.bn_source import BNReset
from ..routing.export import export_subnet, extract_subnet
from ..routing.load_sdr import Pool
from ..routing.session import Normalization
from .divergence import Diverged, is_finite


@dataclass
class Backbones:
    """Writes networks of an SDRNet with their own BN statistics.

    Args:
        backbone (SDRResNet): On the device where statistics are measured. It is not changed.
        bn (BNReset): Which images give the statistics.
        pool (Pool, optional): Images of pre-training, for ``'cluster'`` and ``'all'``.
        pool_images (ImageStore, optional): The same.
        task_images (ImageStore, optional): Training images of the detector, for ``'task'``.
        normalization (tuple): Mean and std of the SDRNet's input.
    """

    backbone: SDRResNet
    bn: BNReset
    pool: Pool | None
    pool_images: ImageStore | None
    task_images: ImageStore | None
    normalization: Normalization

    def subnet(self, index: int, file: Path) -> str:
        """Exports a sub-net, unless it is there already.

        Returns:
            str: What its statistics come from: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``.

        Raises:
            Diverged: If weights or activations are not finite; nothing is written then.
        """
        path = self.backbone.space.path(index)
        if file.exists():
            return self._source(index)
        network = extract_subnet(self.backbone, path)
        name = self._reset(network, index)
        meta: dict[str, Any] = dict(subnet=index, path=list(path), mean=list(self.normalization[0]),
                                    std=list(self.normalization[1]), bn_reset=dict(asdict(self.bn), statistics=name))
        export_subnet(network, file, config=self.backbone.subnet_config(), meta=meta)
        return name

    def supernet(self, file: Path) -> str:
        """Writes the super-net, with all its channels, unless it is there already.

        Returns:
            str: As :meth:`subnet`.

        Raises:
            Diverged: As :meth:`subnet`.
        """
        if file.exists():
            return self._source(None)
        network = deepcopy(self.backbone).eval()
        name = self._reset(network, None)
        with atomic_write(file) as temporary:
            torch.save(dict(state_dict={key: value.cpu() for key, value in network.state_dict().items()}), temporary)
        return name

    def _source(self, subnet: int | None) -> str:
        if self.bn.mode == 'none':
            return 'own'
        readable = None if self.task_images is None else self.task_images.read_all('reading images')
        return self.bn.images(subnet, self.pool, readable)[0]

    def _reset(self, network: nn.Module, subnet: int | None) -> str:
        if not is_finite(network):
            raise Diverged('weights are not finite in the checkpoint')
        if self.bn.mode == 'none':
            return 'own'
        store = self.task_images if self.bn.mode == 'task' else self.pool_images
        assert store is not None
        readable = store.read_all('reading images') if self.bn.mode == 'task' else None
        name, chosen = self.bn.images(subnet, self.pool, readable)
        mean, std = self.normalization
        device = next(network.parameters()).device
        batches = store.batches(chosen, self.bn.batch_size, mean=mean, std=std, device=device)
        try:
            reset_bn(network, progress(batches, -(-len(chosen) // self.bn.batch_size), 'BN reset'), across_ranks=False)
        except NotFiniteError as error:
            raise Diverged(str(error).partition(':')[0]) from error
        return name
