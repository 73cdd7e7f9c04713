"""The images of pre-training, found again from the config that a checkpoint stores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clusters import Clusters
from ..errors import InputError
from ..images import fingerprint, image_names
from ..registry import DATASETS, SCOPE
from ..space import SubnetSpace
from .image_folder import ImageFolder

FilePath = str | Path
BN_RESET = 'BN reset'
KNOWN = ('ImageFolder', 'ImageNet', 'ImageNet21k', 'CustomDataset')
"""Data sets that a checkpoint may name: they list image files and run nothing that they read."""

OPTIONS = dict(data_root=str, ann_file=str, data_prefix=str, split=str, extensions=str, with_label=bool)
"""What it may say of them, and of what kind; extensions are a list of them, a prefix may have a name."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of pre-training, for BN reset and pictures.

    Args:
        paths (list[str]): The files, in the order of the data set.
        clusters (Clusters, optional): Which image belongs to which sub-net.
    """

    paths: list[str]
    clusters: Clusters | None


def load_pool(config: Mapping[str, Any], space: SubnetSpace, *, data: FilePath | None = None,
              clusters: FilePath | None = None, need_clusters: bool = True, where: FilePath = 'the checkpoint',
              purpose: str = BN_RESET) -> Pool:
    """Lists the images of pre-training, without opening one, and reads their clusters.

    Args:
        config (Mapping): Of the training, as a checkpoint stores it.
        space (SubnetSpace): Of the SDRNet, which the clusters must fit.
        data (str | Path, optional): Folder of the images. Defaults to None: as in the config.
        clusters (str | Path, optional): The ``clusters.npz``. Defaults to None: as in the config.
        need_clusters (bool): Whether to read clusters at all. Defaults to True.
        where (str | Path): What has the config, for messages.
        purpose (str): What the images are for, for messages, which know how a BN reset does without them. Defaults to
            'BN reset'.

    Raises:
        InputError: If the images or the clusters are not there, or do not fit each other or the space.
    """
    without = ', or pass --bn-reset task to do without the images of pre-training' if purpose == BN_RESET else ''
    advice = f'pass --data FOLDER{without}'
    stored = _mapping(_mapping(config.get('train_dataloader')).get('dataset'))
    images, file = stored.get('dataset'), stored.get('clusters')
    if not stored and data is None and clusters is None:
        without = "--bn-reset task (in Python bn='task'), with which any search but label_free does without them, or "
        raise InputError(f'{where} comes without the images of pre-training: pass {without * (purpose == BN_RESET)}'
                         f'--data FOLDER{" and --clusters FILE" if need_clusters else ""}')
    clusters = clusters or (Path(file) if isinstance(file, str) else None)
    if need_clusters and (clusters is None or not Path(clusters).is_file()):
        what = f'there is no file {clusters}' if clusters else f'{where} names no clusters'
        what = f'BN reset by cluster needs the clusters, but {what}' if purpose == BN_RESET else what
        raise InputError(f'{what}: pass --clusters FILE{without}')
    if data is not None:
        dataset: Any = ImageFolder(str(data))
    elif not isinstance(images, Mapping):
        raise InputError(f'{purpose} needs the images of pre-training, but {where} does not name them: {advice}')
    else:
        root = os.path.expanduser(str(images.get('data_root') or '.'))
        if not os.path.isdir(root):
            raise InputError(f'{purpose} needs the images of pre-training, but there is no folder {root} that {where} '
                             f'names: {advice}')
        kind = str(images.get('type')).split('.')[-1]
        if kind not in KNOWN:
            raise InputError(f'{where} names images of the type {kind}, and on the word of a checkpoint only '
                             f'{", ".join(KNOWN)} are read: {advice}')
        options = {key: _plain(images, key, where) for key in OPTIONS if key in images}
        try:
            dataset = DATASETS.build(dict(options, type=kind, pipeline=[], _scope_=SCOPE))
        except InputError:
            raise
        except Exception as error:  # Arbitrary values and lists may raise anything.
            reason = next(iter(str(error).splitlines()), '') or type(error).__name__
            raise InputError(f'the images that {where} names cannot be listed ({reason}): {advice}') from error
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    if not need_clusters:
        return Pool(paths, None)
    assert clusters is not None
    loaded = Clusters.load(clusters)
    loaded.check_space(space, str(clusters))
    loaded.check_images(fingerprint(image_names(dataset)), len(paths), str(clusters))
    loaded.check_sizes(1, str(clusters))
    return Pool(paths, loaded)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(images: Mapping[str, Any], key: str, where: FilePath) -> Any:
    """One of the :data:`OPTIONS`, checked: names of files on this machine, and no addresses of others."""
    value = images[key]
    parts = value if key == 'extensions' and isinstance(value, (list, tuple)) else \
        value.values() if key == 'data_prefix' and isinstance(value, Mapping) else [value]
    if not all(isinstance(part, OPTIONS[key]) and '://' not in str(part) for part in parts):
        raise InputError(f'{where} says {key}={str(value)[:60]!r} of its images, which names none on this machine: '
                         f'pass --data FOLDER')
    return value
