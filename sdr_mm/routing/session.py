"""One ranking on one rank: the images, and the networks that pass over them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmpretrain.models.backbones import ResNet
from torch import Tensor, nn

from ..cli import progress
from ..evaluation.features import pooled_features
from ..evaluation.task import Task
from ..images.store import ImageStore
from ..models.sdr_resnet import SDRResNet
from ..space import Path
from .bn_reset import norm_layers, reset_bn
from .bn_source import BNReset
from .export import extract_subnet, load_subnet
from .load_sdr import Pool
from .prefix_tree import PrefixTree

Normalization = tuple[Sequence[float], Sequence[float]]


@dataclass
class Session:
    """What all networks of a ranking have in common.

    Args:
        backbone (SDRResNet): The SDRNet, on the device where everything runs. It is not changed.
        task (Task): Without unreadable images.
        images (ImageStore): Of the task, with unreadable ones.
        readable (np.ndarray): Numbers in ``images`` of the images of ``task``.
        pool (Pool, optional): Images of pre-training.
        pool_images (ImageStore, optional): The same.
        bn (BNReset): Which images give a network its BN statistics, and the batch size.
        normalization (tuple): Mean and std of the SDRNet's input.

    Attributes:
        passes (float): Images that went through a network so far, in passes of one image through one
            network; a walk through the tree of prefixes counts by its share of the multiplications.
    """

    backbone: SDRResNet
    task: Task
    images: ImageStore
    readable: np.ndarray
    pool: Pool | None
    pool_images: ImageStore | None
    bn: BNReset
    normalization: Normalization
    passes: float = field(default=0.0, init=False)
    _subnet: ResNet | None = field(default=None, init=False)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return next(self.backbone.parameters()).device

    @cached_property
    def tree(self) -> PrefixTree:
        """The sub-nets as a tree, with the super-net's BN statistics at first."""
        return PrefixTree(self.backbone)

    def batches(self, store: ImageStore, indices: np.ndarray, normalization: Normalization | None = None) -> Any:
        """Images of a store, in batches on the device."""
        mean, std = normalization or self.normalization
        return store.batches(indices, self.bn.batch_size, mean=mean, std=std, device=self.device)

    def _shown(self, store: ImageStore, indices: np.ndarray, desc: str) -> Any:
        """Batches with a progress bar, for walks through many sub-nets."""
        return progress(self.batches(store, indices), -(-len(indices) // self.bn.batch_size), desc)

    def bn_images(self, bn: BNReset, subnet: int | None) -> tuple[str, ImageStore, np.ndarray]:
        """Name, store and numbers of the images that give a network its statistics."""
        name, chosen = bn.images(subnet, self.pool, self.readable[self.task.train_images])
        store = self.images if bn.mode == 'task' else self.pool_images
        assert store is not None
        return name, store, chosen

    def subnet(self, index: int) -> nn.Module:
        """The sub-net as a plain network; the same object for all, so use it before the next call."""
        path = self.backbone.space.path(index)
        if self._subnet is None:
            self._subnet = extract_subnet(self.backbone, path)
        else:
            load_subnet(self._subnet, self.backbone, path)
        return self._subnet

    def supernet(self) -> nn.Module:
        """A copy of the super-net."""
        return deepcopy(self.backbone).eval()

    def features(self, network: nn.Module, subnet: int | None, reset: bool,
                 normalization: Normalization | None = None) -> tuple[str, Tensor]:
        """Features of one network, and what its BN statistics come from.

        Args:
            network (nn.Module): It is changed by BN reset.
            subnet (int, optional): Its index, if it is a sub-net.
            reset (bool): Whether to reset its BN statistics.
            normalization (tuple, optional): Of its input. Defaults to None, the SDRNet's.

        Returns:
            tuple: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``, and (n, d) of all images of the task.
        """
        name = 'own'
        if reset and norm_layers(network):
            name, store, chosen = self.bn_images(self.bn, subnet)
            self.passes += reset_bn(network, self.batches(store, chosen, normalization), across_ranks=False)
        return name, self.network_features(network, self.images, self.readable, normalization)

    def network_features(self, network: nn.Module, store: ImageStore, indices: np.ndarray,
                         normalization: Normalization | None = None) -> Tensor:
        """Features (n, d) of a network as it is, on images of a store."""
        self.passes += len(indices)
        return pooled_features(network, self.batches(store, indices, normalization))

    def reset_tree(self, bn: BNReset, paths: Sequence[Path]) -> str:
        """Gives the sub-nets on ``paths`` the same images for their statistics; returns which ones."""
        if bn.mode == 'none':
            return 'own'
        name, store, chosen = self.bn_images(bn, None)
        self.tree.reset_bn(self._shown(store, chosen, f'BN of {len(paths)} sub-nets'), paths)
        self.passes += len(chosen) * self.tree.passes(paths, self.images.size)
        return name

    def tree_features(self, paths: Sequence[Path], indices: np.ndarray | None = None) -> dict[Path, Tensor]:
        """Features of several sub-nets in one walk, of all images of the task or of ``indices``."""
        chosen = self.readable if indices is None else self.readable[indices]
        features = self.tree.features(self._shown(self.images, chosen, f'{len(paths)} sub-nets'), paths)
        self.passes += len(chosen) * self.tree.passes(paths, self.images.size)
        return features
