"""Configs, and the changes that the command line makes to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from ..errors import InputError

AMP_WRAPPERS = {'OptimWrapper': 'AmpOptimWrapper', 'SubnetOptimWrapper': 'AmpSubnetOptimWrapper'}


def load_config(file: str, options: dict[str, Any] | None = None) -> Config:
    """Reads a training config and applies ``--cfg-options``.

    Raises:
        InputError: If there is no such file, it trains nothing, or it needs a package that is not there.
    """
    if not Path(file).is_file():
        raise InputError(f'there is no config {file}: give one of configs/')
    try:
        cfg = Config.fromfile(file)
    except ModuleNotFoundError as error:
        raise InputError(f'{file} builds on a package that this environment lacks ({error}): for detection set up the '
                         "full environment, 'make .venv-full/.installed', and use its python") from error
    if options:
        cfg.merge_from_dict(options)
    if 'model' not in cfg or 'train_dataloader' not in cfg:
        raise InputError(f'{file} is no training config: it needs a model and a train_dataloader')
    return cfg


def amp_wrapper(kind: str) -> str:
    """The mixed-precision counterpart of a type of optimizer wrapper.

    Raises:
        InputError: If there is none.
    """
    scope, _, name = kind.rpartition('.')
    if name in AMP_WRAPPERS.values():
        return kind
    if name not in AMP_WRAPPERS:
        raise InputError(f"--amp does not know optim_wrapper.type '{kind}': use one of {', '.join(AMP_WRAPPERS)}")
    return f'{scope}.{AMP_WRAPPERS[name]}' if scope else AMP_WRAPPERS[name]


def use_amp(cfg: Config) -> None:
    """Trains in mixed precision, with dynamic loss scaling.

    Raises:
        InputError: If the optimizer wrapper of the config has no counterpart that does, or there is no
            GPU.
    """
    cfg.optim_wrapper.type = amp_wrapper(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if not torch.cuda.is_available():
        raise InputError('--amp needs a GPU, and torch finds none: leave it out')


def image_dataset(cfg: Config) -> ConfigDict:
    """Config of the data set that reads the images: the one inside a ``ClusterDataset``, or the only one."""
    dataset = cfg.train_dataloader.dataset
    return dataset.dataset if dataset.type.split('.')[-1] == 'ClusterDataset' else dataset


def is_detector(cfg: Config) -> bool:
    """Whether the config trains a detector of MMDetection."""
    return cfg.get('default_scope') == 'mmdet'


def voc_folders(cfg: Config) -> list[ConfigDict]:
    """Configs of the data sets of VOC format, of training, validation and test."""
    found: list[ConfigDict] = []
    rest = [cfg[name].dataset for name in ('train_dataloader', 'val_dataloader', 'test_dataloader') if cfg.get(name)]
    while rest:
        dataset = rest.pop()
        rest += [*dataset.get('datasets', []), *([dataset.dataset] if 'dataset' in dataset else [])]
        if dataset.type.split('.')[-1] == 'VOCFolder':
            found.append(dataset)
    return found


def use_folder(cfg: Config, folder: str, ann_file: str = '') -> None:
    """Trains on the images of ``folder``, flat or nested, with the transforms of the config.

    For a detector ``folder`` is the ``data_root`` of its data sets of VOC format.

    Raises:
        InputError: If the config trains a detector on data of another format.
    """
    if is_detector(cfg):
        folders = voc_folders(cfg)
        if not folders:
            raise InputError(f'--data {folder} has no use: this detector is not trained on a folder of VOC format; set '
                             'data_root in the config')
        for part in folders:
            part.data_root = folder
        return
    dataset = image_dataset(cfg)
    pipeline = dataset.get('pipeline', [])
    dataset.clear()
    dataset.update(type='sdr_mm.ImageFolder', _scope_='sdr_mm', data_root=folder, ann_file=ann_file, pipeline=pipeline)


def use_clusters(cfg: Config, clusters: str) -> None:
    """Trains with this ``clusters.npz``.

    Raises:
        InputError: If the config trains no sub-nets.
    """
    dataset = cfg.train_dataloader.dataset
    if dataset is image_dataset(cfg):
        raise InputError(f'--clusters {clusters} has no use: the data set of this config is no ClusterDataset; take an '
                         'SDR config')
    dataset.clusters = clusters


def use_on_error(cfg: Config, on_error: str | None) -> None:
    """Stops at an image that cannot be decoded, or skips and counts such images."""
    for transform in image_dataset(cfg).get('pipeline', []):
        if transform.type.split('.')[-1] in ('LoadImage', 'LoadImageFromFile'):
            transform.clear()
            transform.update(type='sdr_mm.LoadImage', on_error=on_error or 'stop')
            return
    raise InputError('the pipeline of the config does not load images: begin it with LoadImage')
