"""The images that a training config names, without its augmentations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import InputError
from ..images import read_rgb
from ..mmselfsup import find_config, read_config, translate
from ..registry import DATASETS, TRANSFORMS

ReadImage = Callable[[str | PathLike[str]], np.ndarray]
C = TypeVar('C', bound=Mapping[str, Any])


def image_dataset(config: C) -> C:
    """Config of the data set that reads the images, inside of wrappers such as ``ClusterDataset``."""
    while 'dataset' in config:
        config = config['dataset']
    return config


def dataset_of_config(file: str) -> tuple[BaseDataset, ReadImage]:
    """The training images of a config, once each and in their order, and how they are read there.

    The data set has no pipeline. The function reads an image file as the loading transform of its pipeline does,
    (H, W, 3) uint8 RGB; without one it is :func:`read_rgb`.

    Raises:
        InputError: If the config or its data are missing.
    """
    if not Path(find_config(file)).is_file():
        raise InputError(f'there is no config {file}: give a config with a train_dataloader')
    outer = translate(read_config(file)).get('train_dataloader', {}).get('dataset')
    if not outer:
        raise InputError(f'{file} has no train_dataloader.dataset: give a config for training, or use --data')
    inner = image_dataset(outer)
    steps = [step for part in (outer, inner) for step in part.get('pipeline') or ()
             if _name(step['type']).startswith('LoadImage')]
    try:
        dataset = DATASETS.build({**inner, 'pipeline': []})
    except (OSError, RuntimeError, AssertionError) as error:  # what the data sets of MMPretrain raise
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(f'{file}: the data set cannot be read ({reason}): correct its data_root, or use --data') \
            from error
    return dataset, reader(TRANSFORMS.build(dict(steps[0]))) if steps else read_rgb


def reader(load: Callable[[dict[str, Any]], dict[str, Any] | None]) -> ReadImage:
    """A loading transform of OpenMMLab as a function from a file to (H, W, 3) uint8 RGB.

    It raises an InputError where an image cannot be decoded, whatever the transform does.
    """

    def read(path: str | PathLike[str]) -> np.ndarray:
        try:
            results = load({'img_path': path})
            if results is not None:
                return np.ascontiguousarray(results['img'][..., ::-1])
            reason = 'the transform that loads it leaves it out'  # LoadImage with on_error='skip'
        except InputError:
            raise
        # Other loaders raise nearly anything on damaged files; LoadImageFromFile an AttributeError.
        except Exception as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(f'image {path} cannot be decoded ({reason}): remove it, or go on without such images with '
                         '--on-error skip')

    return read


def _name(kind: str | type) -> str:
    return getattr(kind, '__name__', str(kind)).split('.')[-1]
