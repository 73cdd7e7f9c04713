"""The features of the networks of one ranking on one rank: images, BN statistics and passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..cli import progress
from ..evaluation.features import pooled_features
from ..evaluation.task import Split, Task
from ..images import IMAGENET, ImageStore, Normalization
from ..models.backbone import SDRBackbone
from ..space import Path
from .bn_reset import OWN, BNImages, BNReset
from .prefix_tree import PrefixTree
from .subnet import extract_subnet, load_subnet


@dataclass
class FeatureExtractor:
    """What all networks of a ranking have in common.

    Args:
        backbone (SDRBackbone): The SDRNet, on the device where everything runs. It is not changed.
        task (Task): What routing may look at, without unreadable images.
        store (ImageStore): Images of the task, with unreadable ones.
        readable (np.ndarray): Numbers in ``store`` of the images of ``task``.
        bn (BNReset): Which images give a network its BN statistics, and the batch size.
        bn_images (BNImages): Those images.
        normalization (Normalization): Of the SDRNet's input. Defaults to ImageNet's.

    Attributes:
        passes (float): Images that went through a network so far, in passes of one image through one
            network; a walk through the tree of prefixes counts by its share of the multiplications.
    """

    backbone: SDRBackbone
    task: Task
    store: ImageStore
    readable: np.ndarray
    bn: BNReset
    bn_images: BNImages
    normalization: Normalization = IMAGENET
    passes: float = field(default=0.0, init=False)
    _bar: tqdm | None = field(default=None, init=False, repr=False)
    _subnet: nn.Module | None = field(default=None, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        parameter: nn.Parameter = next(self.backbone.parameters())
        return parameter.device

    @cached_property
    def tree(self) -> PrefixTree:
        """The sub-nets as a tree, with the super-net's BN statistics at first."""
        return PrefixTree(self.backbone)

    def expect(self, passes: float) -> tqdm:
        """Opens a progress bar over all passes of this rank, which shows the estimated duration that is left."""
        self._bar = progress(total=round(passes), desc=f'routing {self.task.name}')
        return self._bar

    def bn_size(self, bn: BNReset, subnet: int | None = None) -> int:
        """How many images give a network its statistics."""
        return 0 if bn.mode == 'none' or not self.task.classes else len(bn.choose(self.bn_images, subnet).numbers)

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
        supernet: nn.Module = deepcopy(self.backbone)
        return supernet.eval()

    def features(self, network: nn.Module, subnet: int | None, reset: bool,
                 normalization: Normalization | None = None) -> tuple[str, Tensor]:
        """Features of one network, and what its BN statistics come from.

        Args:
            network (nn.Module): It is changed by BN reset.
            subnet (int, optional): Its index, if it is a sub-net.
            reset (bool): Whether to reset its BN statistics.
            normalization (Normalization, optional): Of its input. Defaults to None, the SDRNet's.

        Returns:
            tuple: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``, and (n, d) of all images of the task.
        """
        normalization = normalization or self.normalization
        source = OWN
        if reset:
            source, count = self.bn.apply(network, self.bn_images, subnet, normalization)
            self._count(count)
        return source, self.network_features(network, self.store, self.readable, normalization)

    def network_features(self, network: nn.Module, store: ImageStore, numbers: np.ndarray,
                         normalization: Normalization | None = None) -> Tensor:
        """Features (n, d) of a network as it is, on images of a store."""
        return pooled_features(network, self._batches(store, numbers, normalization or self.normalization))

    def reset_tree(self, bn: BNReset, paths: Sequence[Path]) -> str:
        """Gives the sub-nets on ``paths`` the same images for their statistics; returns which ones."""
        if bn.mode == 'none':
            return OWN
        chosen = bn.choose(self.bn_images)
        weight = self.tree.passes(paths, self.store.size)
        self.tree.reset_bn(self._batches(chosen.store, chosen.numbers, self.normalization, weight), paths)
        return chosen.source

    def tree_features(self, paths: Sequence[Path], numbers: np.ndarray | None = None) -> dict[Path, Tensor]:
        """Features of several sub-nets in one walk, of all images of the task or of those with these ``numbers``."""
        chosen = self.readable if numbers is None else self.readable[numbers]
        weight = self.tree.passes(paths, self.store.size)
        return self.tree.features(self._batches(self.store, chosen, self.normalization, weight), paths)

    def _batches(self, store: ImageStore, numbers: np.ndarray, normalization: Normalization,
                 weight: float = 1.0) -> Iterator[Tensor]:
        for batch in store.batches(numbers, self.bn.batch_size, mean=normalization.mean, std=normalization.std,
                                   device=self.device):
            yield batch
            self._count(weight * len(batch))

    def _count(self, passes: float) -> None:
        self.passes += passes
        if self._bar is not None:
            self._bar.update(round(self.passes) - self._bar.n)


def may_look_at(task: Task) -> Task:
    """The part of a task that routing may look at: where there are images to choose by, those to test on are gone."""
    if not task.classes:
        return task
    splits = [Split(*split.choosing()) for split in task.splits]
    used = np.unique(np.concatenate([part for split in splits for part in (split.train, split.test)]))
    return replace(task, splits=splits).without(sorted(set(range(len(task.paths))) - set(used.tolist())))


def read_task(task: Task, **images: Any) -> tuple[Task, ImageStore, np.ndarray]:
    """Decodes the images that routing may look at.

    Args:
        task (Task): The task.
        **images: ``resize``, ``size``, ``on_error`` and ``workers`` of :class:`ImageStore`.

    Returns:
        tuple: The task without images that cannot be decoded, the images with them, and the numbers in these of the
        images of the task.

    Raises:
        InputError: If an image cannot be decoded and ``on_error`` is ``'stop'``, or too many cannot.
    """
    task = may_look_at(task)
    store = ImageStore(task.paths, **images)
    readable = store.read_all(f'reading {task.name}')
    return task.without(sorted(store.failed)), store, readable
