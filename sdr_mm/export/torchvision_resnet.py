"""torchvision's ResNet at any width, for weights of a sub-net."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ..errors import InputError

ARCHITECTURES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]), 34: (BasicBlock, [3, 4, 6, 3]), 50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]), 152: (Bottleneck, [3, 8, 36, 3])}


def torchvision_resnet(depth: int = 50, base_channels: int = 64, stem_channels: int = 64, in_channels: int = 3,
                       num_classes: int = 0) -> ResNet:
    """Builds torchvision's own ResNet at a width that its constructors do not have.

    Names, shapes and forward are those of ``torchvision.models.resnet50()`` and the others, at 64 channels exactly so.

    Args:
        depth (int): 18, 34, 50, 101 or 152. Defaults to 50.
        base_channels (int): Channels of the first stage; stage ``s`` (from 0) has ``2 ** s`` times as many. Defaults to
            64.
        stem_channels (int): Channels of the stem. Defaults to 64.
        in_channels (int): Channels of the image. Defaults to 3.
        num_classes (int): Outputs of a new linear layer ``fc``. Defaults to 0: none, the network returns its pooled
            features ``(N, C)``.

    Raises:
        InputError: If a number is out of range.
    """
    if depth not in ARCHITECTURES or min(base_channels, stem_channels, in_channels) < 1 or num_classes < 0:
        raise InputError(f'a ResNet has a depth of {", ".join(map(str, ARCHITECTURES))}, and channels of at least 1, '
                         f'got {depth=}, {base_channels=}, {stem_channels=}, {in_channels=} and {num_classes=}')
    block, layers = ARCHITECTURES[depth]
    return _ResNet(block, layers, base_channels, stem_channels, in_channels, num_classes)


class _ResNet(ResNet):
    """torchvision's class, in which the width of 64 is written out."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: list[int], base_channels: int,
                 stem_channels: int, in_channels: int, num_classes: int) -> None:
        self._widths = base_channels, stem_channels  # Asked for while the class builds itself.
        super().__init__(block, layers, num_classes=1)
        self.conv1 = nn.Conv2d(in_channels, stem_channels, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode='fan_out', nonlinearity='relu')
        self.bn1 = nn.BatchNorm2d(stem_channels)
        features = 8 * base_channels * block.expansion
        self.fc = nn.Linear(features, num_classes) if num_classes else nn.Identity()

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        base_channels, stem_channels = self._widths
        if planes == 64:  # The first stage, which follows the stem.
            self.inplanes = stem_channels
        stage: nn.Sequential = super()._make_layer(block, planes // 64 * base_channels, *args, **kwargs)
        return stage
