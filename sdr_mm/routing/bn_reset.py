"""BN reset: the running statistics of a network, measured on given images.

A sub-net that has just been cut out of the super-net carries a mixture of statistics; section 4.3 of
the paper presupposes that it has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from ..errors import InputError, NotFiniteError
from ..models.sliced import SlicedBatchNorm


class _Population:
    """Mean and variance per channel over everything :meth:`update` has seen, in float64.

    Parts are combined by the formula of Chan et al. (1979): the sum of squared deviations of a union is
    that of the parts plus what the distance between their means adds. So the variance holds the
    between-batch part, and a small batch weighs no more than its size.
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
        if isinstance(layer, _NormBase) and not isinstance(layer, _InstanceNorm) and layer.running_mean is not None
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
        """Passes a batch with batch normalization as in training and takes its statistics in.

        Args:
            network (nn.Module): The one of the constructor, or another of the same layers. Its weights,
                statistics and modes are as before afterwards.
            batch (Tensor): Its input, ``(N, …)``.

        Returns:
            What the network returned.

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
