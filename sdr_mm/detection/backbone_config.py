"""Putting another backbone into the config of a detector."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from ..errors import InputError
from ..models.checkpoints import infer_resnet, read_checkpoint, split_backbone, state_of
from ..models.sdr_resnet import SDRResNet

LAYOUT = ('depth', 'stem_channels', 'base_channels')


def own_layout(cfg: Config) -> dict[str, int]:
    """Depth, stem and base channels of the ResNet that the config builds.

    Raises:
        InputError: If its backbone is no ResNet.
    """
    backbone = cfg.model.get('backbone') or {}
    kind = str(backbone.get('type')).split('.')[-1]
    if kind not in ('ResNet', 'SDRResNet'):
        raise InputError(f'the backbone of {cfg.filename} is {kind}, not ResNet or sdr_mm.SDRResNet: take one of '
                         f'configs/detection')
    if kind == 'SDRResNet':
        base, stem = sum(backbone.get('base_channels', (52, 12))), backbone.get('stem_channels', 64)
    else:
        base = backbone.get('base_channels', 64)
        stem = backbone.get('stem_channels') or base
    return dict(depth=backbone.get('depth', 50), stem_channels=stem, base_channels=base)


def check_layout(cfg: Config, layout: dict[str, Any], where: str) -> None:
    """Refuses a network of another size than the config's.

    Raises:
        InputError: Saying what to set.
    """
    own, given = own_layout(cfg), {name: layout[name] for name in LAYOUT}
    if own != given:
        def text(sizes: dict[str, Any]) -> str:
            return ', '.join(f'{name}={sizes[name]}' for name in LAYOUT)
        raise InputError(f'{where} is a ResNet with {text(given)}, but the backbone of {cfg.filename} has {text(own)}: '
                         f'set these in the config, and in_channels of its neck, or take another config')


def check_file(cfg: Config, file: str | Path, where: str) -> None:
    """Refuses a checkpoint that is no ResNet of the config's size.

    Raises:
        InputError: In one line.
    """
    state, _ = split_backbone(state_of(read_checkpoint(file), file), f'{where} {file}')
    check_layout(cfg, infer_resnet(state, f'{where} {file}'), f'{where} {file}')


def check_normalization(cfg: Config, mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuses a detector that feeds the backbone other colors than its pre-training did.

    Raises:
        InputError: Saying what to set.
    """
    own = cfg.model.get('data_preprocessor') or {}
    given = [*own.get('mean', ()), *own.get('std', ())]
    if len(given) != 6 or max(abs(a - b) for a, b in zip(given, [*mean, *std])) > 1e-2 or not own.get('bgr_to_rgb'):
        raise InputError(f'the checkpoint was pre-trained on RGB with mean={[*mean]} and std={[*std]}, and '
                         f'model.data_preprocessor of {cfg.filename} has others: set them, and bgr_to_rgb=True')


def pretrained_parts(model: dict[str, Any], name: str = 'model') -> Iterator[tuple[str, ConfigDict]]:
    """The parts of a detector that start from the backbone's checkpoint, by their names in the config."""
    for key, value in model.items():
        if isinstance(value, dict):
            init_cfg = value.get('init_cfg')
            kind = (init_cfg.get('type'), init_cfg.get('_scope_')) if isinstance(init_cfg, dict) else ()
            if kind == ('Pretrained', 'sdr_mm'):
                yield f'{name}.{key}', value
            yield from pretrained_parts(value, f'{name}.{key}')


def with_resnet(cfg: Config, file: str | None, path: Sequence[int] | None = None) -> Config:
    """The config with the backbone, and the stages in its head, started from another file.

    Args:
        cfg (Config): Of a detector; it is not changed.
        file (str, optional): A ResNet of the config's size. None: random weights.
        path (Sequence[int], optional): Of the sub-net, for a config whose backbone is an SDRResNet. Defaults
            to None.

    Raises:
        InputError: If no part of the detector takes a checkpoint.
    """
    changed = copy.deepcopy(cfg)
    parts = list(pretrained_parts(changed.model))
    if not parts:
        raise InputError(f'the backbone of {cfg.filename} takes no checkpoint: give it init_cfg=dict('
                         f"type='Pretrained', _scope_='sdr_mm', checkpoint='backbone.pth')")
    for _, part in parts:
        if file is None:
            part.init_cfg = None
        else:
            part.init_cfg.checkpoint = file
    if path is not None and 'path' in changed.model.backbone:
        changed.model.backbone.path = tuple(path)
    return changed


def with_supernet(cfg: Config, backbone: SDRResNet, file: str) -> Config:
    """The config with the super-net of an SDRNet as its backbone, and the neck's inputs as wide.

    Args:
        cfg (Config): Of a detector; it is not changed.
        backbone (SDRResNet): The SDRNet, for its arguments.
        file (str): Its weights.

    Raises:
        InputError: If the detector has no neck whose inputs could be widened.
    """
    changed = copy.deepcopy(cfg)
    neck: Any = changed.model.get('neck') or {}
    if not isinstance(neck.get('in_channels'), (list, tuple)):
        raise InputError(f'the super-net is wider than a sub-net, and {cfg.filename} has no neck whose in_channels '
                         f'could follow: pass --no-supernet')
    own = changed.model.backbone
    network: dict[str, Any] = dict(
        depth=backbone.depth,
        base_channels=backbone.base_channels,
        num_groups=backbone.space.num_groups,
        routed_blocks=backbone.routed_blocks,
        in_channels=backbone.in_channels,
        stem_channels=backbone.stem_channels,
        strides=backbone.strides,
        dilations=backbone.dilations,
        style=backbone.style,
        out_indices=tuple(own.get('out_indices', (0, 1, 2, 3))))
    neck.in_channels = output_channels(network)
    changed.model.backbone = ConfigDict(
        network,
        type='sdr_mm.SDRResNet',
        norm_cfg=own.get('norm_cfg', dict(type='BN', requires_grad=True)),
        norm_eval=own.get('norm_eval', True),
        frozen_stages=own.get('frozen_stages', -1),
        init_cfg=dict(type='Pretrained', _scope_='sdr_mm', checkpoint=file))
    return changed


def output_channels(network: dict[str, Any]) -> list[int]:
    """Channels of the maps that the super-net of an SDRResNet with these arguments returns."""
    backbone = SDRResNet(**network).eval()
    with torch.no_grad():
        return [maps.shape[1] for maps in backbone(torch.zeros(1, backbone.in_channels, 64, 64))]
