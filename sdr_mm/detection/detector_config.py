"""Configs of detectors: what a race needs of them, and another backbone in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from ..engine.configs import is_detector
from ..errors import InputError
from ..images import Normalization
from ..models.backbone import SDRBackbone, build_plain
from ..registry import SCOPE


def check_config(cfg: Config, iters: int) -> None:
    """Refuses configs of other trainings than a race can run."""
    name = cfg.filename
    if not is_detector(cfg) or not cfg.get('val_dataloader'):
        raise InputError(f'{name} is no config of a detector with a validation set: take one of configs/detection')
    if _kind(cfg.train_cfg) != 'IterBasedTrainLoop' or any(
            schedule.get('by_epoch', True) for schedule in cfg.get('param_scheduler') or []):
        raise InputError(f"{name} trains by epochs, and a race needs iterations: give train_cfg=dict("
                         f"type='IterBasedTrainLoop', max_iters=…) and schedules with by_epoch=False")
    metric = cfg.get('val_evaluator')
    if not isinstance(metric, dict) or _kind(metric) != 'VOCDetectionMetric':
        raise InputError(f"val_evaluator of {name} does not give AP, AP50 and AP75 of VOC: make it dict("
                         f"type='sdr_mm.VOCDetectionMetric')")
    if iters > cfg.train_cfg.max_iters:
        raise InputError(f'--iters {iters} is more than the {cfg.train_cfg.max_iters} iterations of {name}: pass '
                         f'fewer, or raise train_cfg.max_iters')


def build_dataset(cfg: Config, loader: str) -> Any:
    """The data set of ``train_dataloader`` or ``val_dataloader``; refuses one that has no images with objects."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(copy.deepcopy(cfg[loader].dataset))
    dataset.full_init()
    if not len(dataset):
        raise InputError(f'{loader} of {cfg.filename} has no images with objects: check its ann_file and filter_cfg')
    return dataset


def check_normalization(cfg: Config, normalization: Normalization) -> None:
    """Refuses a detector that feeds the backbone other colors than its pre-training did."""
    own, (mean, std) = cfg.model.get('data_preprocessor') or {}, normalization
    given = [*own.get('mean', ()), *own.get('std', ())]
    if len(given) != 6 or max(abs(a - b) for a, b in zip(given, [*mean, *std])) > 1e-2 or not own.get('bgr_to_rgb'):
        raise InputError(f'the checkpoint was pre-trained on RGB with mean={[*mean]} and std={[*std]}, and '
                         f'model.data_preprocessor of {cfg.filename} has others: set them, and bgr_to_rgb=True')


def check_backbone(cfg: Config, network: Mapping[str, Any], where: str) -> None:
    """Refuses a plain network (:meth:`SDRBackbone.subnet_config`) of another size than the backbone of the config."""
    backbone = cfg.model.get('backbone') or {}
    own, given = _resnet_sizes(backbone), _resnet_sizes(network)
    if own is None:
        raise InputError(f'the backbone of {cfg.filename} is {_kind(backbone)}, not ResNet or sdr_mm.SDRResNet: take '
                         f'one of configs/detection')
    if given is None:
        raise InputError(f'{where} is {_kind(network)}, and detectors are trained on a ResNet only')
    if own != given:
        texts = [', '.join(f'{name}={size}' for name, size in sizes.items()) for sizes in (given, own)]
        raise InputError(f'{where} is a ResNet with {texts[0]}, but the backbone of {cfg.filename} has {texts[1]}: '
                         f'set these in the config, and in_channels of its neck, or take another config')


def pretrained_parts(model: dict[str, Any], name: str = 'model') -> Iterator[tuple[str, ConfigDict]]:
    """The parts of a detector that start from the backbone's checkpoint, by their names in the config."""
    for key, value in model.items():
        if isinstance(value, dict):
            init = value.get('init_cfg')
            if isinstance(init, dict) and (init.get('type'), init.get('_scope_')) == ('Pretrained', 'sdr_mm'):
                yield f'{name}.{key}', value
            yield from pretrained_parts(value, f'{name}.{key}')


def with_backbone(cfg: Config, file: str | None, path: Sequence[int] | None = None) -> Config:
    """A copy of the config with the backbone, and the stages in its head, started from another file.

    None is random weights; ``path`` is that of a sub-net, for a config whose backbone takes one.
    """
    changed = copy.deepcopy(cfg)
    if not (parts := list(pretrained_parts(changed.model))):
        raise InputError(f'the backbone of {cfg.filename} takes no checkpoint: give it init_cfg=dict('
                         f"type='Pretrained', _scope_='sdr_mm', checkpoint='backbone.pth')")
    for _, part in parts:
        part.init_cfg = None if file is None else ConfigDict(part.init_cfg, checkpoint=file)
    if path is not None and 'path' in changed.model.backbone:
        changed.model.backbone.path = tuple(path)
    return changed


def with_supernet(cfg: Config, backbone: SDRBackbone, file: str) -> Config:
    """A copy of the config with the super-net, its weights in ``file``, as backbone, and the neck's inputs as wide."""
    changed = copy.deepcopy(cfg)
    neck: Any = changed.model.get('neck') or {}
    if not isinstance(neck.get('in_channels'), (list, tuple)):
        raise InputError(f'the super-net is wider than a sub-net, and {cfg.filename} has no neck whose in_channels '
                         f'could follow: pass --no-supernet')
    own = changed.model.backbone
    network = dict(_sdr_config(backbone), out_indices=tuple(own.get('out_indices', (0, 1, 2, 3))))
    with torch.no_grad():
        maps: Any = build_plain(network)(torch.zeros(1, backbone.in_channels, 64, 64))
    neck.in_channels = [one.shape[1] for one in maps]
    changed.model.backbone = ConfigDict(
        network, norm_cfg=own.get('norm_cfg', dict(type='BN', requires_grad=True)),
        norm_eval=own.get('norm_eval', True), frozen_stages=own.get('frozen_stages', -1),
        init_cfg=dict(type='Pretrained', _scope_='sdr_mm', checkpoint=file))
    return changed


# All that detection knows of a family of networks. MMDetection's backbones know no contract: it builds them from a
# config, and a neck has to be as wide.


def _resnet_sizes(config: Mapping[str, Any]) -> dict[str, int] | None:
    """What two configs of a ResNet have to agree in, MMPretrain's, MMDetection's or an SDRResNet's; None for others."""
    kind = _kind(config)
    if kind not in ('ResNet', 'SDRResNet'):
        return None
    base = config.get('base_channels', 64 if kind == 'ResNet' else (52, 12))
    base = base if isinstance(base, int) else sum(base)
    stem = config.get('stem_channels') or (base if kind == 'ResNet' else 64)
    return dict(depth=config.get('depth', 50), stem_channels=stem, base_channels=base)


def _sdr_config(backbone: Any) -> dict[str, Any]:
    """Config of the whole SDRNet, as a backbone of MMDetection."""
    return dict(backbone.subnet_config(), type=f'{SCOPE}.{type(backbone).__name__}',
                base_channels=backbone.base_channels, num_groups=backbone.space.num_groups,
                routed_blocks=backbone.routed_blocks)


def _kind(config: Mapping[str, Any]) -> str:
    return str(config.get('type')).split('.')[-1]
