"""Where the images to cluster come from: a config or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset

from ..datasets.image_folder import ImageFolder
from ..errors import InputError
from ..registry import DATASETS


def dataset_of_folder(folder: str) -> tuple[BaseDataset, None]:
    """All images under a folder, and None for the default way to load them.

    Raises:
        InputError: If it is missing or has no images.
    """
    return ImageFolder(folder), None


def dataset_of_config(file: str) -> tuple[BaseDataset, dict[str, Any] | None]:
    """The training images of a config, and the transform that loads them there.

    Wrappers such as ``ClusterDataset`` are taken off: the images shall come once each, in their order.

    Args:
        file (str): The config.

    Returns:
        tuple: The data set without a pipeline, and the config of its loading transform, or None if
        its pipeline has none.

    Raises:
        InputError: If the config or its data are missing.
    """
    if not Path(file).is_file():
        raise InputError(f'there is no config {file}: give a config with a train_dataloader')
    config = Config.fromfile(file)
    dataset = config.get('train_dataloader', {}).get('dataset')
    if not dataset:
        raise InputError(f'{file} has no train_dataloader.dataset: give a config for training, or use --data')
    load = None
    while True:
        steps = [step for step in dataset.get('pipeline') or () if _name(step['type']).startswith('LoadImage')]
        load = load or (dict(steps[0]) if steps else None)
        if 'dataset' not in dataset:
            break
        dataset = dataset['dataset']
    try:
        return DATASETS.build({**dataset, 'pipeline': []}), load
    except InputError:
        raise
    except (OSError, RuntimeError, AssertionError) as error:  # what the data sets of MMPretrain raise
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(f'{file}: the data set cannot be read ({reason}): correct its data_root, or use --data') \
            from error


def _name(kind: str | type) -> str:
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]
