"""BN reset: the running statistics of a network, measured on given images.

A sub-net that has just been cut out of the super-net carries a mixture of statistics; section 4.3 of
the paper presupposes that it has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine import dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ..cli import progress
from ..datasets.pool import Pool
from ..errors import InputError, NotFiniteError
from ..images import IMAGENET, ImageStore, Normalization
from ..models.sliced import SlicedBatchNorm

BN_RESETS = ('cluster', 'task', 'all', 'none')
OWN = 'own'
"""What the statistics of a network are called that keeps those it came with."""


class _Population:
    """Mean and variance per channel over everything :meth:`update` has seen, in float64.

    Parts are combined by the formula of Chan et al. (1979), so the variance holds the between-batch part, and a
    small batch weighs no more than its size.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.mean = torch.zeros(channels, dtype=torch.float64, device=device)
        self.deviations = torch.zeros(channels, dtype=torch.float64, device=device)

    def update(self, x: Tensor) -> None:
        """Takes in activations ``(N, C, …)``."""
        dims = [dim for dim in range(x.dim()) if dim != 1]
        var, mean = torch.var_mean(x.float() if x.dtype in (torch.half, torch.bfloat16) else x, dims, correction=0)
        count = x.numel() // x.shape[1]
        total = self.count + count
        shift = mean.double() - self.mean
        self.deviations += var.double() * count + shift.square() * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def combine_ranks(self) -> None:
        """Makes this the population of all ranks together."""
        sums = torch.cat([self.count.view(1), self.count * self.mean])
        dist.all_reduce(sums)
        total, mean = sums[0], sums[1:] / sums[0].clamp(min=1)
        deviations = self.deviations + self.count * (self.mean - mean).square()
        dist.all_reduce(deviations)
        self.count, self.mean, self.deviations = total, mean, deviations

    @property
    def var(self) -> Tensor:
        """Biased variance, ``(C,)``."""
        return self.deviations / self.count.clamp(min=1)


def norm_layers(network: nn.Module) -> dict[str, _NormBase]:
    """The batch norm layers of ``network`` that keep running statistics, by name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, (_BatchNorm, SlicedBatchNorm)) and layer.running_mean is not None
    }


@contextmanager
def _measuring(network: nn.Module, layers: dict[str, _NormBase]) -> Iterator[None]:
    """Only the norms of ``network`` in training, without a trace in it afterwards."""
    modes = {module: module.training for module in network.modules()}
    kept: list[tuple[_NormBase, dict[str, Any]]] = []
    for layer in layers.values():
        buffers = {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)}
        kept.append((layer, dict(momentum=layer.momentum, sync=getattr(layer, 'sync', None), buffers=buffers)))
    try:
        network.eval()
        for layer in layers.values():
            layer.train()
            layer.momentum = 0.0
            if isinstance(layer, SlicedBatchNorm):  # Ranks may see different numbers of batches.
                layer.sync = False
        yield
    finally:
        for layer, state in kept:
            layer.momentum = state['momentum']
            if isinstance(layer, SlicedBatchNorm):
                layer.sync = state['sync']
            for name, buffer in state['buffers'].items():
                getattr(layer, name).copy_(buffer)
        for module, mode in modes.items():
            module.training = mode


class NormMeter:
    """Population statistics of what the norm layers of one network see.

    Args:
        network (nn.Module): A plain network, or an :class:`SDRResNet`, whose super-net is then measured.
    """

    def __init__(self, network: nn.Module) -> None:
        self._populations: dict[str, _Population] = {}
        for name, layer in norm_layers(network).items():
            assert layer.running_mean is not None
            self._populations[name] = _Population(layer.num_features, layer.running_mean.device)

    @torch.no_grad()
    def run(self, network: nn.Module, batch: Tensor) -> Any:
        """Passes a batch ``(N, …)`` with batch normalization as in training, takes its statistics in, and returns
        what the network returned.

        ``network`` is the one of the constructor, or another of the same layers. Its weights, statistics and modes are
        as before afterwards.

        Raises:
            InputError: If a layer is used more than once, or the batch has a single value per channel.
        """
        used: set[str] = set()

        def watch(name: str) -> Any:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                if name in used:
                    raise InputError(f'BN layer {name} is used more than once in a forward, so it has no statistics of '
                                     f'its own: give each use a layer')
                used.add(name)
                if inputs[0].numel() == inputs[0].shape[1]:
                    raise InputError(f'BN layer {name} sees one value per channel, which has no variance: use batches '
                                     f'of two images or more, or larger images')
                self._populations[name].update(inputs[0])
            return hook

        layers = norm_layers(network)
        hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
        try:
            with _measuring(network, layers):
                return network(batch)
        finally:
            for handle in hooks:
                handle.remove()

    def combine_ranks(self) -> None:
        """Makes the populations of all ranks one. All ranks must call."""
        for population in self._populations.values():
            population.combine_ranks()

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and biased variance by layer, float64 ``(C,)``.

        Raises:
            InputError: If a layer saw nothing, or the statistics are not finite.
        """
        for name, population in self._populations.items():
            if not population.count:
                raise InputError(f'BN layer {name} was not reached, so its statistics cannot be measured')
            if not (population.mean.isfinite().all() and population.var.isfinite().all()):
                raise NotFiniteError(f'activations at BN layer {name} are not finite (NaN or infinite): the weights '
                                     f'are damaged or training has diverged')
        return {name: (population.mean, population.var) for name, population in self._populations.items()}


@torch.no_grad()
def reset_bn(network: nn.Module,
             batches: Iterable[Tensor],
             *,
             num_images: int | None = None,
             across_ranks: bool = True) -> int:
    """Replaces the running statistics of every BN layer by the population's.

    Each batch passes with batch normalization as in training; every layer's mean and (biased) variance
    are those of all values it has seen in all batches, the variance between batches included. Weights,
    the mode of each module and everything else stay as they are. Afterwards the network normalizes in
    evaluation mode with these statistics.

    Args:
        network (nn.Module): A plain network, such as :func:`extract_subnet` gives, or an
            :class:`SDRResNet`, whose super-net is then measured.
        batches (Iterable[Tensor]): Images ``(N, C, H, W)``, normalized, on the network's device.
            A batch counts by its size.
        num_images (int, optional): Stop after as many images on this rank. Defaults to None, all.
        across_ranks (bool): Whether the batches of all ranks are one population. All ranks must call
            then; one of them may have no batches. Defaults to True.

    Returns:
        int: Number of images seen, on all ranks if ``across_ranks``.

    Raises:
        InputError: If there are no images, a layer is used more than once in a forward or not at all, a
            batch has a single value per channel, or the statistics are not finite.
    """
    layers = norm_layers(network)
    if not layers:
        raise InputError(f'{type(network).__name__} has no BN layer with running statistics: nothing to reset')
    meter, seen = NormMeter(network), 0
    for batch in batches:
        if num_images is not None:
            batch = batch[:num_images - seen]
        if len(batch):
            meter.run(network, batch)
            seen += len(batch)
        if num_images is not None and seen >= num_images:
            break
    if across_ranks and dist.get_world_size() > 1:
        total = torch.tensor(seen, device=next(iter(layers.values())).running_mean.device)  # type: ignore[union-attr]
        dist.all_reduce(total)
        seen = int(total)
        meter.combine_ranks()
    if not seen:
        raise InputError('BN reset has no images: give it at least one batch')
    for name, (mean, var) in meter.statistics().items():
        layer = layers[name]
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(var)
    return seen


class BNImages(NamedTuple):
    """The images that a network's BN statistics may be measured on.

    Args:
        task (ImageStore, optional): Images of the task. Defaults to None.
        train (np.ndarray, optional): Numbers of its training images. Defaults to None.
        pool (Pool, optional): Images of pre-training, and their clusters. Defaults to None.
        pool_store (ImageStore, optional): The same, prepared as the task's. Defaults to None.
    """

    task: ImageStore | None = None
    train: np.ndarray | None = None
    pool: Pool | None = None
    pool_store: ImageStore | None = None


class Chosen(NamedTuple):
    """Images for the statistics of one network: what they are, where they are, and their numbers there."""

    source: str
    store: ImageStore
    numbers: np.ndarray


@dataclass(frozen=True)
class BNReset:
    """Which images give a network its BN statistics, and the reset itself.

    Images are prepared as for the features, because the statistics are to describe the input that the
    network will see.

    Args:
        mode (str): ``'cluster'``: a sub-net's on its cluster, any other network's on the whole pool;
            ``'all'``: everyone's on the whole pool; ``'task'``: on the training images of the task,
            without their labels; ``'none'``: a sub-net keeps its slice of the super-net's statistics.
            Defaults to 'cluster'.
        num_images (int): Most images. Defaults to 2000.
        batch_size (int): Images in a batch. Defaults to 200.
        seed (int): Chooses the images. Defaults to 0.

    Raises:
        InputError: If an argument is out of range.
    """

    mode: str = 'cluster'
    num_images: int = 2000
    batch_size: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in BN_RESETS:
            raise InputError(f'BN reset is one of {", ".join(BN_RESETS)}, got {self.mode!r}')
        if self.num_images < 2 or self.batch_size < 2:
            raise InputError(f'BN reset needs at least 2 images and batches of at least 2, got {self.num_images} and '
                             f'{self.batch_size}')

    @property
    def shared(self) -> bool:
        """Whether all sub-nets have their statistics from the same images, so that prefixes can be shared."""
        return self.mode != 'cluster'

    def choose(self, images: BNImages, subnet: int | None = None) -> Chosen:
        """Chooses the images of one network, in random order.

        Args:
            images (BNImages): Those of the task for ``'task'``, those of pre-training for the others.
            subnet (int, optional): Index of the sub-net. Defaults to None, any other network.
        """
        stream = 0
        if self.mode == 'task':
            assert images.task is not None and images.train is not None
            source, store, numbers = 'task', images.task, images.train
        else:
            assert images.pool is not None and images.pool_store is not None
            source, store, numbers = 'pool', images.pool_store, np.arange(len(images.pool.paths))
            if self.mode == 'cluster' and subnet is not None:
                assert images.pool.clusters is not None
                # Clusters have paths, and by default, but not always, cluster i has path i.
                cluster = int(np.flatnonzero(images.pool.clusters.subnets == subnet)[0])
                source, stream = f'cluster {cluster}', cluster + 1
                numbers = np.flatnonzero(images.pool.clusters.assignment == cluster)
        random = np.random.default_rng([self.seed, stream])
        return Chosen(source, store, random.permutation(numbers)[:self.num_images])

    def apply(self,
              network: nn.Module,
              images: BNImages,
              subnet: int | None = None,
              normalization: Normalization = IMAGENET,
              bar: bool = False) -> tuple[str, int]:
        """Measures the statistics of ``network`` on this rank, unless the mode is ``'none'`` or it has no BN layer.

        Args:
            network (nn.Module): As for :func:`reset_bn`.
            images (BNImages): Where to choose from.
            subnet (int, optional): Its index, if it is a sub-net. Defaults to None.
            normalization (Normalization): Of its input. Defaults to ImageNet's.
            bar (bool): Whether to show a progress bar. Defaults to False.

        Returns:
            tuple: What the statistics come from, ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``, and the number
            of images.

        Raises:
            InputError: As :func:`reset_bn`.
        """
        if self.mode == 'none' or not norm_layers(network):
            return OWN, 0
        chosen = self.choose(images, subnet)
        batches: Iterable[Tensor] = chosen.store.batches(
            chosen.numbers, self.batch_size, mean=normalization.mean, std=normalization.std,
            device=next(network.parameters()).device)
        if bar:
            batches = progress(batches, -(-len(chosen.numbers) // self.batch_size), 'BN reset')
        return chosen.source, reset_bn(network, batches, across_ranks=False)
