"""Magnitude pruning of a plain ResNet to the size of a narrower one: the lottery-ticket baseline of Table 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from ..errors import InputError
from .backbone import build_plain
from .checkpoints import load_exactly

Config = dict[str, Any]


def narrower(config: Config, base_channels: int, stem_channels: int | None = None) -> Config:
    """Config of the ResNet that is as deep and has these widths; a stem of None is as wide as before.

    Raises:
        InputError: If it is no smaller.
    """
    stem = config['stem_channels'] if stem_channels is None else stem_channels
    widths = (config['base_channels'], config['stem_channels'])
    if base_channels > widths[0] or stem > widths[1] or (base_channels, stem) == widths:
        raise InputError(f'a ResNet with base_channels={widths[0]} and stem_channels={widths[1]} cannot be pruned to '
                         f'{base_channels} and {stem}: give smaller ones')
    return dict(config, base_channels=base_channels, stem_channels=stem)


def num_parameters(config: Config) -> int:
    """Parameters of the plain network of ``config``."""
    return sum(parameter.numel() for parameter in build_plain(config).parameters())


def prune_weights(network: nn.Module, parameters: int) -> None:
    """Sets the convolution weights of least magnitude to zero, over all layers at once (Frankle and Carbin 2018).

    Norms are not pruned. The statistics of the norms stay those of the whole network.

    Args:
        network (nn.Module): A plain network, changed in place.
        parameters (int): How many of all its parameters are kept. Those that are kept and were zero before are counted.

    Raises:
        InputError: If there are no more parameters than that, or the norms alone are more.
    """
    total = sum(parameter.numel() for parameter in network.parameters())
    weights = [(layer, 'weight') for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    can_go = sum(layer.weight.numel() for layer, _ in weights)
    if not 0 < total - parameters <= can_go:
        raise InputError(f'a network of {total} parameters, of which {can_go} are weights of convolutions, cannot be '
                         f'pruned to {parameters}: give a number from {total - can_go} to {total - 1}')
    prune.global_unstructured(weights, prune.L1Unstructured, amount=total - parameters)
    for layer, name in weights:
        prune.remove(layer, name)


def prune_channels(network: nn.Module, config: Config) -> nn.Module:
    """Leaves out the channels of least magnitude, so that a plain ResNet of the widths of ``config`` remains.

    The magnitude of a channel is the sum of the absolute weights that compute it (Li et al. 2017, "Pruning Filters for
    Efficient ConvNets"). All blocks of a stage add to the same channels, so theirs, and those of the projection, are
    summed, and the stage keeps the same channels in all of its blocks. Where the first stage begins without a
    projection, the stem belongs to that sum. The other channels are chosen layer by layer. Those that are kept stay in
    their order, with their weights, scales, shifts and statistics.

    Args:
        network (nn.Module): A plain ResNet of MMPretrain. It is not changed and shares no memory with the result.
        config (dict): Of the result: a :func:`narrower` one of the network's.

    Returns:
        nn.Module: The plain ResNet of ``config``, in evaluation mode on the CPU.

    Raises:
        InputError: If one of the two begins its first stage with a projection and the other one does not.
    """
    pruned = build_plain(config)
    layers = list(_layers(network))
    theirs, ours = ({layer.conv for layer in part} for part in (layers, _layers(pruned)))
    if odd := sorted(theirs ^ ours):
        here, there = ('network', 'result') if odd[0] in theirs else ('result', 'network')
        raise InputError(f'the {here} has {odd[0]} and the {there} has not: a ResNet whose stem is as wide as its '
                         f'first stage begins that without a projection, and to leave out channels makes none and '
                         f'removes none: give another --stem-channels than {config["stem_channels"]}')
    whole = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    shapes = {key: value.shape for key, value in pruned.state_dict().items()}
    magnitudes: dict[str, list[Tensor]] = {}
    width: dict[str, int] = {}
    for layer in layers:
        magnitudes.setdefault(layer.outputs, []).append(whole[f'{layer.conv}.weight'].double().abs().sum((1, 2, 3)))
        width[layer.outputs] = shapes[f'{layer.conv}.weight'][0]
    kept = {name: torch.stack(parts).sum(0).argsort(descending=True, stable=True)[:width[name]].sort().values
            for name, parts in magnitudes.items()}
    state: dict[str, Tensor] = {}
    for layer in layers:
        weight = whole[f'{layer.conv}.weight'][kept[layer.outputs]]
        state[f'{layer.conv}.weight'] = weight[:, kept[layer.inputs]] if layer.inputs in kept else weight
        for key in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'{layer.norm}.{key}'] = whole[f'{layer.norm}.{key}'][kept[layer.outputs]]
        state[f'{layer.norm}.num_batches_tracked'] = whole[f'{layer.norm}.num_batches_tracked'].clone()
    load_exactly(pruned, state, 'the pruned network')
    return pruned


class _Layer(NamedTuple):
    """Names of a convolution, of the norm behind it, and of what is common to its input and output channels.

    Layers whose outputs are added, or read by the same layer, name the same. ``''`` is the image.
    """

    conv: str
    norm: str
    inputs: str
    outputs: str


def _layers(network: nn.Module) -> Iterator[_Layer]:
    """The layers of a ResNet of MMPretrain."""
    modules = dict(network.named_modules())
    stream = 'stem'
    yield _Layer('conv1', 'bn1', '', stream)
    for stage in network.res_layers:  # type: ignore[union-attr]
        for number in range(len(modules[stage])):
            block, inputs = f'{stage}.{number}', stream
            if f'{block}.downsample' in modules:
                stream = stage
                yield _Layer(f'{block}.downsample.0', f'{block}.downsample.1', inputs, stream)
            convs = [i for i in (1, 2, 3) if f'{block}.conv{i}' in modules]
            for i in convs:
                outputs = stream if i == convs[-1] else f'{block}.conv{i}'
                yield _Layer(f'{block}.conv{i}', f'{block}.bn{i}', inputs, outputs)
                inputs = outputs
