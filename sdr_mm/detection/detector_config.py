"""What a config needs so that candidates can be raced with it."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ..engine.configs import is_detector
from ..errors import InputError


def check_config(cfg: Config, iters: int) -> None:
    """Refuses configs of other trainings.

    Raises:
        InputError: Saying what to change.
    """
    name = cfg.filename
    if not is_detector(cfg) or not cfg.get('val_dataloader'):
        raise InputError(f'{name} is no config of a detector with a validation set: take one of configs/detection')
    if str(cfg.train_cfg.get('type')).split('.')[-1] != 'IterBasedTrainLoop':
        raise InputError(f"{name} trains by epochs, and a race needs iterations: give train_cfg=dict("
                         f"type='IterBasedTrainLoop', max_iters=…) and schedules with by_epoch=False")
    if any(schedule.get('by_epoch', True) for schedule in cfg.get('param_scheduler') or []):
        raise InputError(f'{name} has a param_scheduler that goes by epochs, and a race needs iterations: set '
                         f'by_epoch=False')
    metric = cfg.get('val_evaluator')
    if not isinstance(metric, dict) or str(metric.get('type')).split('.')[-1] != 'VOCDetectionMetric':
        raise InputError(f"val_evaluator of {name} does not give AP, AP50 and AP75 of VOC: make it dict("
                         f"type='sdr_mm.VOCDetectionMetric')")
    if iters > cfg.train_cfg.max_iters:
        raise InputError(f'--iters {iters} is more than the {cfg.train_cfg.max_iters} iterations of {name}: pass '
                         f'fewer, or raise train_cfg.max_iters')


def build_dataset(cfg: Config, loader: str) -> Any:
    """The data set of ``train_dataloader`` or ``val_dataloader``.

    Raises:
        InputError: If it cannot be used, or has no images with objects.
    """
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(copy.deepcopy(cfg[loader].dataset))
    dataset.full_init()
    if not len(dataset):
        raise InputError(f'{loader} of {cfg.filename} has no images with objects: check its ann_file and filter_cfg')
    return dataset
