"""timm's ResNet, whose width is an argument and whose stem has 64 channels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.checkpoints import State, import_extra
from .exported import Exported
from .resnet_shape import ResNetShape, resnet_shape

STEM = 64
EPS = nn.BatchNorm2d(1).eps
FIRST, SHORTCUT = 'layer1.0.conv1.weight', 'layer1.0.downsample.'


def timm_arguments(shape: ResNetShape) -> dict[str, Any]:
    """Arguments of ``timm.create_model('resnet50', …)`` beside the name; none for the usual ResNet."""
    arguments: dict[str, Any] = {} if shape.base_channels == 64 else dict(channels=shape.widths)
    return arguments if shape.in_channels == 3 else dict(arguments, in_chans=shape.in_channels)


def timm_shape(exported: Exported, format: str) -> ResNetShape:
    """The shape that the network has in timm.

    Raises:
        InputError: If timm has no such ResNet.
    """
    shape = resnet_shape(exported, format)
    stem, outputs = shape.stem_channels, shape.base_channels * shape.expansion
    # A shortcut is a projection where it changes the width, and timm's starts from 64 channels.
    if stem > STEM or stem != STEM and outputs == STEM:
        raise InputError(f'timm has no ResNet-{shape.depth} with a stem of {stem} and a base width of '
                         f'{shape.base_channels}: take torchvision, safetensors, onnx or torch.export')
    return shape._replace(stem_channels=STEM)


def timm_state(exported: Exported, format: str) -> State:
    """The weights for timm.

    A stem of fewer than 64 channels is filled up with channels that are zero and stay so, in training too. Where the
    first shortcut has no weights in the sub-net, it becomes a projection that copies: in evaluation it is the same, in
    training its norm is one more.

    Raises:
        InputError: If timm has no such ResNet.
    """
    shape = timm_shape(exported, format)
    state = dict(exported.state)
    stem = state['conv1.weight'].shape[0]
    if stem == STEM:
        return state
    width = shape.base_channels * shape.expansion
    if f'{SHORTCUT}0.weight' not in state:
        state[f'{SHORTCUT}0.weight'] = torch.eye(width)[:, :, None, None]
        ones = torch.ones(width)
        # The weight takes back the division by sqrt(1 + eps).
        norm = dict(weight=ones * math.sqrt(1 + EPS), bias=0 * ones, running_mean=0 * ones, running_var=ones,
                    num_batches_tracked=torch.tensor(0))
        state.update({f'{SHORTCUT}1.{key}': value for key, value in norm.items()})
    for key in (FIRST, f'{SHORTCUT}0.weight'):
        state[key] = _filled(state[key], dim=1)
    for key in ('conv1.weight', 'bn1.weight', 'bn1.bias', 'bn1.running_mean'):
        state[key] = _filled(state[key], dim=0)
    state['bn1.running_var'] = _filled(state['bn1.running_var'], dim=0, value=1)
    return state


def _filled(weight: Tensor, dim: int, value: float = 0) -> Tensor:
    shape = list(weight.shape)
    shape[dim] = STEM - shape[dim]
    return torch.cat([weight, torch.full(shape, value, dtype=weight.dtype)], dim)


def build_timm(shape: ResNetShape, needed_by: str) -> nn.Module:
    """timm's ResNet without a classifier, in evaluation mode.

    Raises:
        InputError: If timm is not installed.
    """
    timm = import_extra('timm', needed_by)
    network: nn.Module = timm.create_model(f'resnet{shape.depth}', num_classes=0, **timm_arguments(shape))
    return network.eval()
