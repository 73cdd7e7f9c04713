"""Projector and predictor of the siamese algorithms, shared by all networks."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ..errors import InputError
from ..registry import MODELS
from .sdr_resnet import build_norm
from .sliced import ChannelLayout, PathLike, SlicedLinear


@MODELS.register_module()
class SDRNonLinearNeck(BaseModule):
    """MMPretrain's ``NonLinearNeck`` for a super-net and its sub-nets.

    Every network uses all weights, but for the input channels of the first layer, which follow the last block of the
    backbone; and only the super-net updates the running statistics. Names of the weights are those of
    ``NonLinearNeck``.

    Args:
        in_channels (int | ChannelLayout): Input channels, or their split as :attr:`SDRBackbone.out_layout` gives it.
        hid_channels (int): Channels of all layers but the last one.
        out_channels (int): Channels of the last layer.
        num_layers (int): Linear layers. Defaults to 2.
        with_bias (bool): Whether all layers but the last one have a bias. Defaults to False.
        with_last_bn (bool): Whether a norm follows the last layer. Defaults to True.
        with_last_bn_affine (bool): Whether that norm has a scale and a shift. Defaults to True.
        with_last_bias (bool): Whether the last layer has a bias. Defaults to False.
        with_avg_pool (bool): Whether feature maps are averaged over their places first. Defaults to True.
        norm_cfg (dict): Norm layers, of type ``BN`` or ``SyncBN``. Defaults to ``dict(type='SyncBN')``.
        init_cfg (dict | list[dict], optional): Initialization. Defaults to None, PyTorch's.
    """

    def __init__(self,
                 in_channels: int | ChannelLayout,
                 hid_channels: int,
                 out_channels: int,
                 num_layers: int = 2,
                 with_bias: bool = False,
                 with_last_bn: bool = True,
                 with_last_bn_affine: bool = True,
                 with_last_bias: bool = False,
                 with_avg_pool: bool = True,
                 norm_cfg: dict[str, Any] = dict(type='SyncBN'),
                 init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None) -> None:
        super().__init__(init_cfg)
        self.with_avg_pool = with_avg_pool
        if num_layers < 1 or hid_channels < 1 or out_channels < 1:
            raise InputError(f'SDRNonLinearNeck needs at least 1 layer and 1 channel, got num_layers={num_layers}, '
                             f'hid_channels={hid_channels} and out_channels={out_channels}')
        self.num_layers = num_layers
        inputs = ChannelLayout(in_channels) if isinstance(in_channels, int) else in_channels
        for i in range(num_layers):
            last = i == num_layers - 1
            outputs = ChannelLayout(out_channels if last else hid_channels)
            self.add_module(f'fc{i}', SlicedLinear(inputs, outputs, bias=with_last_bias if last else with_bias))
            if not last or with_last_bn:
                self.add_module(f'bn{i}', build_norm(norm_cfg, outputs, affine=not last or with_last_bn_affine))
            inputs = outputs

    def forward(self, x: tuple[Tensor, ...], path: PathLike | None = None, update_stats: bool = True) -> tuple[Tensor]:
        """Projects features.

        Args:
            x (tuple[Tensor]): One map ``(N, C, H, W)``, or features ``(N, C)`` without pooling.
            path (PathLike, optional): The sub-net they come from. Defaults to None, the super-net.
            update_stats (bool): Whether the super-net updates running statistics. Defaults to True.

        Returns:
            tuple[Tensor]: One tensor ``(N, out_channels)``.
        """
        (out, ) = x
        out = out.mean(dim=(2, 3)) if self.with_avg_pool else out.flatten(1)
        for i in range(self.num_layers):
            out = getattr(self, f'fc{i}')(F.relu(out) if i else out, path)
            norm = getattr(self, f'bn{i}', None)
            out = out if norm is None else norm(out, path, update_stats)
        return (out, )
