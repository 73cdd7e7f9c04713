"""The SDRNet: a ResNet that holds a sub-net for every path (section 4.2 and Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import torch
import torch.utils.checkpoint as cp
from mmengine.model.weight_init import PretrainedInit, constant_init
from mmpretrain.models.backbones.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from ..errors import InputError
from ..registry import MODELS
from ..space import SubnetSpace
from .backbone import SDRBackbone
from .sliced import ChannelLayout, PathLike, SlicedBatchNorm, SlicedConv2d, cut_state_dict

NormCfg = dict[str, Any]


def build_norm(norm_cfg: NormCfg, layout: ChannelLayout, affine: bool = True) -> SlicedBatchNorm:
    """Builds the sliced counterpart of ``dict(type='BN' | 'SyncBN', eps=…, momentum=…, requires_grad=…)``."""
    cfg = dict(norm_cfg)
    kind, requires_grad = cfg.pop('type'), cfg.pop('requires_grad', True)
    if kind not in ('BN', 'BN1d', 'BN2d', 'SyncBN'):
        raise InputError(f"norm_cfg type '{kind}' cannot be sliced: use 'BN' or 'SyncBN'")
    norm = SlicedBatchNorm(layout, affine=affine, sync=kind == 'SyncBN', **cfg)
    for parameter in norm.parameters():
        parameter.requires_grad = requires_grad
    return norm


class SDRShortcut(nn.ModuleList):
    """Projection of the residual stream where its shape changes: convolution, then norm."""

    def __init__(self, inputs: ChannelLayout, outputs: ChannelLayout, stride: int, norm_cfg: NormCfg) -> None:
        super().__init__([SlicedConv2d(inputs, outputs, 1, stride=stride), build_norm(norm_cfg, outputs)])

    def forward(self, x: Tensor, path: PathLike | None, update_stats: bool) -> Tensor:
        conv, norm = self
        out: Tensor = norm(conv(x, path), path, update_stats)
        return out


class SDRIdentity(nn.Module):
    """Shortcut without weights into a routed stage as wide, for a sub-net, as what precedes it.

    There a stock ResNet has no projection (the first block of ResNet-18 and 34), so a sub-net must have none. The
    super-net, which is wider, repeats the last ``individual`` channels for each group: on every path that is the
    sub-net's identity.
    """

    source: Tensor

    def __init__(self, outputs: ChannelLayout) -> None:
        super().__init__()
        shared = torch.arange(outputs.shared)
        group = outputs.shared + torch.arange(outputs.individual)
        self.register_buffer('source', torch.cat([shared, group.repeat(outputs.num_groups)]), persistent=False)

    def forward(self, x: Tensor, path: PathLike | None, update_stats: bool) -> Tensor:
        return x.index_select(1, self.source) if path is None else x


class SDRResidual(nn.Module):
    """Residual block: two 3×3 convolutions (ResNet-18 and 34), or as a bottleneck 1×1, 3×3 and 1×1."""

    def __init__(self, inputs: ChannelLayout, width: ChannelLayout, outputs: ChannelLayout, *, bottleneck: bool,
                 stride: int, dilation: int, style: str, with_cp: bool, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs.active != outputs.active:  # As in a stock ResNet of a sub-net's widths.
            self.downsample = SDRShortcut(inputs, outputs, stride, norm_cfg)
        elif inputs.total != outputs.total:
            self.downsample = SDRIdentity(outputs)
        # Kernel size, stride and dilation of each convolution.
        convs = [(3, stride, dilation), (3, 1, 1)]
        if bottleneck:
            first, second = (1, stride) if style == 'pytorch' else (stride, 1)
            convs = [(1, first, 1), (3, second, dilation), (1, 1, 1)]
        self.num_convs = len(convs)
        for i, (kernel, stride, dilation) in enumerate(convs, 1):
            layout = outputs if i == self.num_convs else width
            self.add_module(f'conv{i}', SlicedConv2d(inputs, layout, kernel, stride=stride, dilation=dilation,
                                                     padding=kernel // 2 * dilation))
            self.add_module(f'bn{i}', build_norm(norm_cfg, layout))
            inputs = layout

    @property
    def last_norm(self) -> SlicedBatchNorm:
        """The norm whose scale starts at 0 under ``zero_init_residual``."""
        norm: SlicedBatchNorm = getattr(self, f'bn{self.num_convs}')
        return norm

    def _add(self, x: Tensor, path: PathLike | None, update_stats: bool) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x, path, update_stats)
        for i in range(1, self.num_convs + 1):
            x = getattr(self, f'conv{i}')(x if i == 1 else self.relu(x), path)
            x = getattr(self, f'bn{i}')(x, path, update_stats)
        return x.add_(identity)

    def forward(self, x: Tensor, path: PathLike | None, update_stats: bool) -> Tensor:
        if self.with_cp and x.requires_grad:
            # Computing it again must not count the batch again, which what is compiled does by itself.
            updates = repeat(update_stats) if torch.compiler.is_compiling() else chain([update_stats], repeat(False))
            x = cp.checkpoint(lambda x: self._add(x, path, next(updates)), x, use_reentrant=False)
        else:
            x = self._add(x, path, update_stats)
        out: Tensor = self.relu(x)
        return out


class SDRStage(nn.ModuleList):
    """The residual blocks of one stage. All of them take the same individual group."""

    def forward(self, x: Tensor, path: PathLike | None, update_stats: bool) -> Tensor:
        for block in self:
            x = block(x, path, update_stats)
        return x


@MODELS.register_module()
class SDRResNet(SDRBackbone):
    """ResNet whose routed stages hold a shared group and several individual groups of channels.

    The super-net uses all channels. A sub-net uses, in each routed stage, the shared group and the individual group
    that its path names. With the default layout a sub-net *is* a ResNet of base width ``sum(base_channels)``: names
    and shapes of its weights are those of :class:`mmpretrain.models.ResNet`. Parameters of ResNet-50, super-net /
    sub-net: ``(52, 12)`` 57.314M / 23.508M, ``(51, 12)`` 56.175M / 22.781M, ``(48, 12)`` 52.826M / 20.667M.

    Args:
        depth (int): Depth of the network, from {18, 34, 50, 101, 152}. Defaults to 50.
        base_channels (tuple[int, int]): Base channels of the shared group and of one individual group, in the first
            stage; stage ``s`` (from 0) has ``2 ** s`` times as many. Defaults to (52, 12).
        num_groups (int): Individual groups per routed stage. Defaults to 4.
        routed_blocks (Sequence[int]): The routed stages, ascending, from 0 to 3. A stage that is not routed has the
            width of a sub-net's, in every network; with none the super-net is a plain ResNet.
            Defaults to (0, 1, 2, 3).
        in_channels (int): Channels of the image. Defaults to 3.
        stem_channels (int): Channels of the stem, which is not routed. Defaults to 64.
        strides (Sequence[int]): Stride of the first block of each stage. Defaults to (1, 2, 2, 2).
        dilations (Sequence[int]): Dilation of each stage. Defaults to (1, 1, 1, 1).
        out_indices (Sequence[int]): Stages whose output is returned. Defaults to (3, ).
        style (str): What has the stride in a bottleneck: ``pytorch``, the 3×3 convolution; ``caffe``, the first 1×1.
            Defaults to 'pytorch'.
        frozen_stages (int): Stem (0) and stages up to this one neither learn nor update their statistics; -1 freezes
            nothing. Defaults to -1.
        norm_cfg (dict): Norm layers, of type ``BN`` or ``SyncBN``. Defaults to ``dict(type='BN', requires_grad=True)``.
        norm_eval (bool): Whether norm layers keep to their running statistics in training. Defaults to False.
        with_cp (bool): Whether to recompute activations in the backward pass to save memory. Defaults to False.
        zero_init_residual (bool): Whether each residual branch starts as zero. Defaults to True.
        path (Sequence[int], optional): Builds the sub-net on this path and nothing else, for fine-tuning: a network
            of a stock ResNet's size, names and behavior, batch norm included. It loads its part of a super-net's
            checkpoint, or a checkpoint of its own size. Defaults to None: all networks.
        init_cfg (dict | list[dict], optional): Initialization. Defaults to Kaiming.

    Raises:
        InputError: If an argument is outside what is listed above.
    """

    def __init__(self,
                 depth: int = 50,
                 base_channels: tuple[int, int] = (52, 12),
                 num_groups: int = 4,
                 routed_blocks: Sequence[int] = (0, 1, 2, 3),
                 in_channels: int = 3,
                 stem_channels: int = 64,
                 strides: Sequence[int] = (1, 2, 2, 2),
                 dilations: Sequence[int] = (1, 1, 1, 1),
                 out_indices: Sequence[int] = (3, ),
                 style: str = 'pytorch',
                 frozen_stages: int = -1,
                 norm_cfg: NormCfg = dict(type='BN', requires_grad=True),
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 zero_init_residual: bool = True,
                 path: Sequence[int] | None = None,
                 init_cfg: dict[str, Any] | list[dict[str, Any]] | None = dict(type='Kaiming',
                                                                               layer=['Conv2d'])) -> None:
        super().__init__(init_cfg)
        _check_arguments(depth, base_channels, routed_blocks, strides, dilations, out_indices, style, frozen_stages)
        shared, individual = base_channels
        self.base_channels = (shared, individual)
        self.routed_blocks = tuple(routed_blocks)
        self.space = SubnetSpace(num_groups, len(self.routed_blocks))
        self.path = None if path is None else self.space.check(path)
        # Those that MMPretrain's ResNet has too.
        self.depth, self.in_channels, self.stem_channels, self.style = depth, in_channels, stem_channels, style
        self.strides, self.dilations = tuple(strides), tuple(dilations)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.zero_init_residual = zero_init_residual
        self._subnet_config: dict[str, Any] = dict(
            type='mmpretrain.ResNet', depth=depth, in_channels=in_channels, stem_channels=stem_channels,
            base_channels=shared + individual, strides=self.strides, dilations=self.dilations,
            out_indices=self.out_indices, style=style)

        stem = ChannelLayout(stem_channels)
        self.conv1 = SlicedConv2d(ChannelLayout(in_channels), stem, 7, stride=2, padding=3)
        self.bn1 = build_norm(norm_cfg, stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.segments = [['conv1', 'bn1', 'relu', 'maxpool']]

        block_type, stage_blocks = ResNet.arch_settings[depth]
        inputs = stem
        self.res_layers = [f'layer{stage + 1}' for stage in range(4)]
        for stage, name in enumerate(self.res_layers):
            if stage in self.routed_blocks:
                width = ChannelLayout(shared, individual, num_groups, self.routed_blocks.index(stage))
                self.segments.append([])
            else:
                width = ChannelLayout(shared + individual)
            if self.path is not None:
                width = width.fixed(self.path)
            width = width.scaled(2**stage)
            bottleneck = block_type is Bottleneck
            outputs = width.scaled(4 if bottleneck else 1)
            blocks = []
            for i in range(stage_blocks[stage]):
                # The dilation of the first block is that of its stage too, as in MMPretrain.
                blocks.append(SDRResidual(
                    inputs, width, outputs, bottleneck=bottleneck, stride=strides[stage] if i == 0 else 1,
                    dilation=dilations[stage], style=style, with_cp=with_cp, norm_cfg=norm_cfg))
                inputs = outputs
            self.add_module(name, SDRStage(blocks))
            self.segments[-1].append(name)  # A stage that is not routed belongs to what precedes it.
        self.out_layout, self.feat_dim = inputs, inputs.total
        if self.path is not None:
            self.register_load_state_dict_pre_hook(_cut_to_path)
        self._freeze_stages()

    def subnet_config(self) -> dict[str, Any]:
        """Config of the stock ResNet that a sub-net is."""
        return dict(self._subnet_config)

    def supernet_config(self) -> dict[str, Any]:
        """Config of the stock ResNet that the super-net is.

        Raises:
            InputError: If no stock ResNet is like it: some stages are routed and some are not, or a stage begins with
                an :class:`SDRIdentity`; or if there is a sub-net only.
        """
        if self.path is not None:
            raise InputError(f'this SDRResNet has the sub-net on path {self.path} only: build it without a path')
        config = self.subnet_config()
        if self.space.num_blocks not in (0, 4) or any(isinstance(module, SDRIdentity) for module in self.modules()):
            raise InputError(f'the super-net of SDRResNet-{config["depth"]} with routed_blocks={self.routed_blocks} '
                             f'and stem_channels={config["stem_channels"]} is no stock ResNet: export a sub-net')
        shared, individual = self.base_channels
        groups = self.space.num_groups if self.space.num_blocks else 1
        return dict(config, base_channels=shared + groups * individual)

    def init_weights(self) -> None:
        super().init_weights()
        configs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        pretrained = any(config['type'] in ('Pretrained', PretrainedInit) for config in configs)
        for module in self.modules():
            if self.zero_init_residual and not pretrained and isinstance(module, SDRResidual):
                constant_init(module.last_norm, 0)

    def forward(self, x: Tensor, path: PathLike | None = None, update_stats: bool = True) -> tuple[Tensor, ...]:
        """Feature maps of the network on ``path``; arguments and errors are those of :meth:`SDRBackbone.forward`.

        Returns:
            tuple[Tensor, ...]: For each of ``out_indices`` a map ``(N, C, h, w)``, where ``C`` counts the network's
            own channels.
        """
        path = self.check_path(path)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x), path, update_stats)))
        outs = []
        for stage, name in enumerate(self.res_layers):
            x = getattr(self, name)(x, path, update_stats)
            if stage in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        frozen: list[nn.Module] = [self.conv1, self.bn1] if self.frozen_stages >= 0 else []
        frozen += [getattr(self, name) for name in self.res_layers[:max(self.frozen_stages, 0)]]
        for module in frozen:
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> SDRResNet:
        """Sets the mode, but leaves frozen stages, and under ``norm_eval`` all norms, in evaluation."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, SlicedBatchNorm):
                    module.eval()
        return self


def _cut_to_path(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.update(cut_state_dict(module, state, prefix))


def _check_arguments(depth: int, base_channels: tuple[int, int], routed_blocks: Sequence[int], strides: Sequence[int],
                     dilations: Sequence[int], out_indices: Sequence[int], style: str, frozen_stages: int) -> None:
    if depth not in ResNet.arch_settings:
        raise InputError(f'SDRResNet has no depth {depth}: choose one of {sorted(ResNet.arch_settings)}')
    if len(base_channels) != 2 or base_channels[0] < 1 or base_channels[1] < 1:
        raise InputError(f'base_channels is (shared, individual), both at least 1, got {base_channels}')
    if list(routed_blocks) != sorted(set(routed_blocks) & {0, 1, 2, 3}):
        raise InputError(f'routed_blocks are ascending stages from 0 to 3, got {tuple(routed_blocks)}')
    if len(strides) != 4 or len(dilations) != 4:
        raise InputError(f'strides and dilations have one entry for each of 4 stages, got {strides} and {dilations}')
    if not out_indices or not set(out_indices) <= {0, 1, 2, 3}:
        raise InputError(f'out_indices are stages from 0 to 3, got {tuple(out_indices)}')
    if style not in ('pytorch', 'caffe'):
        raise InputError(f"style is 'pytorch' or 'caffe', got '{style}'")
    if not -1 <= frozen_stages <= 4:
        raise InputError(f'frozen_stages goes from -1 to 4, got {frozen_stages}')
