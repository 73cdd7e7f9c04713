"""Reading the SDRNet back from the checkpoint that training wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clusters import Clusters
from ..datasets.image_folder import ImageFolder
from ..errors import InputError
from ..images import fingerprint, image_names
from ..models.checkpoints import load_exactly, normalization, read_checkpoint, state_of, stored_config
from ..models.sdr_resnet import SDRResNet
from ..registry import DATASETS, MODELS, SCOPE

Place = str | Path


@dataclass(frozen=True)
class SDRInfo:
    """What a checkpoint of training says beside the weights.

    Args:
        file (Path): The checkpoint.
        config (dict): The config of the training.
        clusters (Path, optional): The ``clusters.npz`` it was trained with, as its config names it.
        dataset (dict, optional): Config of the images that were clustered, without transforms.
        mean (tuple): Normalization of the input, RGB, 0 to 255.
        std (tuple): The same.
    """

    file: Path
    config: dict[str, Any]
    clusters: Path | None
    dataset: dict[str, Any] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_sdr(file: Place) -> tuple[SDRResNet, SDRInfo]:
    """Reads the backbone of an SDR checkpoint.

    Args:
        file (str | Path): A checkpoint that MMEngine wrote while an SDR algorithm trained. It holds its
            config.

    Returns:
        tuple: The :class:`SDRResNet` in evaluation mode on the CPU, and an :class:`SDRInfo`.

    Raises:
        InputError: If it is something else, or its weights do not fit its config.
    """
    checkpoint = read_checkpoint(file)
    state = state_of(checkpoint, file)
    config = stored_config(checkpoint)
    model = config.get('model')
    backbone_cfg = model.get('backbone') if isinstance(model, dict) else None
    if not isinstance(backbone_cfg, dict) or str(backbone_cfg.get('type')).split('.')[-1] != 'SDRResNet':
        raise InputError(f'{file} is no checkpoint of an SDRNet (it stores no config whose backbone is an SDRResNet): '
                         f'give one that tools/train.py wrote with an SDR config')
    # Weights come from the file, and frozen stages are a matter of training.
    # Whatever scope MMEngine's registries are in: a detector built in this process leaves them in MMDetection's.
    backbone_cfg = {'_scope_': SCOPE, **backbone_cfg, 'init_cfg': None, 'frozen_stages': -1}
    try:
        backbone = MODELS.build(backbone_cfg)
    except TypeError as error:
        raise InputError(f'{file}: the stored config of the backbone does not fit SDRResNet ({error})') from error
    prefix = 'backbone.'
    load_exactly(backbone, {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}, file)
    mean, std = normalization(config)
    clusters, dataset = training_data(config)
    return backbone.eval(), SDRInfo(Path(file), config, clusters, dataset, mean, std)


def training_data(config: dict[str, Any]) -> tuple[Path | None, dict[str, Any] | None]:
    """Clusters and images of the ClusterDataset in a training config."""
    loader = config.get('train_dataloader')
    outer = loader.get('dataset') if isinstance(loader, dict) else None
    if not isinstance(outer, dict):
        return None, None
    clusters = outer.get('clusters')
    inner = outer.get('dataset')
    images = {key: value for key, value in inner.items() if key != 'pipeline'} if isinstance(inner, dict) else None
    return Path(clusters) if isinstance(clusters, str) else None, images


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of pre-training, for BN reset and pictures.

    Args:
        paths (list[str]): The files, in the order of the data set.
        clusters (Clusters, optional): Which image belongs to which sub-net.
    """

    paths: list[str]
    clusters: Clusters | None


def load_pool(info: SDRInfo, backbone: SDRResNet, *, data: Place | None = None, clusters: Place | None = None,
              need_clusters: bool = True) -> Pool:
    """Lists the images of pre-training, without opening one, and reads their clusters.

    Args:
        info (SDRInfo): Of the checkpoint.
        backbone (SDRResNet): The SDRNet, whose space the clusters must fit.
        data (str | Path, optional): Folder of the images. Defaults to None: as in the stored config.
        clusters (str | Path, optional): The ``clusters.npz``. Defaults to None: as in the config.
        need_clusters (bool): Whether to read clusters at all. Defaults to True.

    Raises:
        InputError: If the images or the clusters are not there, or do not fit each other or the space.
    """
    advice = 'or pass --bn-reset task to do without the images of pre-training'
    clusters = clusters or info.clusters
    if need_clusters and (clusters is None or not Path(clusters).is_file()):
        what = f'there is no file {clusters}' if clusters else f'{info.file} names no clusters'
        raise InputError(f'BN reset by cluster needs the clusters, but {what}: pass --clusters FILE, {advice}')
    if data is not None:
        dataset = ImageFolder(str(data))
    elif info.dataset is None:
        raise InputError(f'BN reset needs the images of pre-training, but {info.file} does not name them: '
                         f'pass --data FOLDER, {advice}')
    else:
        root = os.path.expanduser(str(info.dataset.get('data_root') or '.'))
        if not os.path.isdir(root):
            raise InputError(f'BN reset needs the images of pre-training, but there is no folder {root} that '
                             f'{info.file} names: pass --data FOLDER, {advice}')
        dataset = DATASETS.build({'_scope_': SCOPE, **info.dataset, 'pipeline': []})
    dataset.full_init()
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    if not need_clusters:
        return Pool(paths, None)
    assert clusters is not None
    loaded = Clusters.load(clusters)
    loaded.check_space(backbone.space, str(clusters))
    loaded.check_images(fingerprint(image_names(dataset)), str(clusters))
    loaded.check_sizes(1, str(clusters))
    return Pool(paths, loaded)
