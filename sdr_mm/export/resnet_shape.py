"""The plain ResNets that other libraries have under the same names of weights."""

from __future__ import annotations

from typing import Any, NamedTuple

from mmpretrain.models.backbones.resnet import Bottleneck, ResNet

from ..errors import InputError
from .exported import Exported


class ResNetShape(NamedTuple):
    """A ResNet of any width with the strides of every library, whose last stage gives the features.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        base_channels (int): Channels of the first stage, before the expansion of a bottleneck.
        stem_channels (int): Channels of the stem.
        in_channels (int): Channels of the image.
    """

    depth: int
    base_channels: int
    stem_channels: int = 64
    in_channels: int = 3

    @property
    def expansion(self) -> int:
        """How many times wider the output of a block is."""
        return 4 if ResNet.arch_settings[self.depth][0] is Bottleneck else 1

    @property
    def widths(self) -> list[int]:
        """Channels inside the blocks of each stage."""
        return [self.base_channels * 2**stage for stage in range(4)]


def is_resnet(exported: Exported) -> bool:
    """Whether the network is MMPretrain's plain ResNet, and no variant of it."""
    return type(exported.network) is ResNet


def check_resnet(exported: Exported, format: str) -> None:
    """Refuses what is no plain ResNet.

    Raises:
        InputError: If it is something else.
    """
    if not is_resnet(exported):
        raise InputError(f'the format {format} is for ResNets, and this network is a '
                         f'{type(exported.network).__name__}: take mmpretrain, safetensors, onnx or torch.export')


def resnet_shape(exported: Exported, format: str) -> ResNetShape:
    """The shape of a network as a ResNet of torchvision and timm.

    Args:
        exported (Exported): The network.
        format (str): What it is for, for messages.

    Raises:
        InputError: If it is no ResNet, or its features would be others there.
    """
    check_resnet(exported, format)
    network: Any = exported.network
    usual = dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
    odd = [f'{key}={tuple(getattr(network, key))}' for key, value in usual.items()
           if tuple(getattr(network, key)) != value]
    if network.style != 'pytorch' and network.block is Bottleneck:
        odd.append(f'style={network.style!r}')
    if max(network.out_indices) != 3:
        odd.append(f'out_indices={tuple(network.out_indices)}')
    if odd:
        raise InputError(f'the format {format} is for ResNets with the usual strides and the last stage, and this one '
                         f'has {", ".join(odd)}: take mmpretrain, mmdet, safetensors, onnx or torch.export')
    return ResNetShape(network.depth, network.base_channels, network.stem_channels, exported.in_channels)
