"""Training one run of the study, each step once: what is there already is not made again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from projects.real_data.mixed import SIZE
from sdr_mm.clustering import Features, build_clusters, extract_features
from sdr_mm.clusters import Clusters
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.engine import configs
from sdr_mm.engine.training import train
from sdr_mm.files import atomic_write
from sdr_mm.models.backbone import pool_features
from sdr_mm.models.zoo import load_network
from sdr_mm.space import SubnetSpace

from .images import StudyImages
from .plan import RUNS, Run

BATCH = 128


def checkpoint_of(name: str, seed: int, images: StudyImages, out: Path) -> Path:
    """The checkpoint of a run; it is trained first, or resumed, unless it is there.

    Args:
        name (str): One of :data:`RUNS`.
        seed (int): Of weights, order and views of the images, and clusters.
        images (StudyImages): What it trains on.
        out (Path): Folder of all runs.
    """
    work_dir = out / f'seed{seed}' / name
    return trained(RUNS[name], seed, images, out, images.list_file, work_dir)


def checkpoints_of(name: str, seed: int, images: StudyImages, out: Path) -> list[Path]:
    """As :func:`checkpoint_of`, of a run that has a separate network for each cluster."""
    run, folder = RUNS[name], out / f'seed{seed}' / name
    clusters = Clusters.load(clusters_of(run, seed, images, out))
    names, files = images.list_file.read_text(encoding='utf-8').splitlines(), []
    folder.mkdir(exist_ok=True)
    for cluster in range(clusters.num_clusters):
        list_file = folder / f'{cluster}.txt'
        with atomic_write(list_file, overwrite=True) as temporary:
            temporary.write_text(''.join(f'{names[number]}\n' for number in
                                         np.flatnonzero(clusters.assignment == cluster)), encoding='utf-8')
        files.append(trained(replace(run, clusters=''), seed, images, out, list_file, folder / str(cluster)))
    return files


def trained(run: Run, seed: int, images: StudyImages, out: Path, list_file: Path, work_dir: Path) -> Path:
    """The last checkpoint of a run in its folder, which also has how many seconds it took without a break."""
    file = work_dir / f'epoch_{run.epochs}.pth'
    if not file.exists():
        cfg = configured(run, seed, images, out, list_file)
        cfg.work_dir, cfg.resume = str(work_dir), work_dir.exists()
        started = time.monotonic()
        train(cfg, guard=True)
        if not cfg.resume:
            (work_dir / 'seconds').write_text(f'{time.monotonic() - started:.0f}\n')
    return file


def configured(run: Run, seed: int, images: StudyImages, out: Path, list_file: Path) -> Config:
    """The config of a run, as ``tools/train.py`` would make it of its options, on the images of ``list_file``."""
    cfg = configs.load_config(str(run.config), dict(run.options))
    cfg.randomness, cfg.log_level = dict(seed=seed), 'WARNING'
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1)
    configs.use_epochs(cfg, run.epochs)
    configs.use_folder(cfg, str(images.root), str(list_file.resolve()))
    configs.use_on_error(cfg, 'stop')
    if run.clusters:
        configs.use_clusters(cfg, str(clusters_of(run, seed, images, out)))
        cfg.train_dataloader.dataset.share_images = run.shared
    if run.start:
        configs.use_init_from(cfg, str(checkpoint_of(run.start, seed, images, out)))
    return cfg


def clusters_of(run: Run, seed: int, images: StudyImages, out: Path) -> Path:
    """The clusters that a run trains on, by the features of the network it begins with."""
    file = out / f'seed{seed}' / f'clusters_{run.clusters}_{4 ** run.blocks}.npz'
    if not file.exists():
        features = features_of(run.start or 'baseline', seed, images, out)
        options: dict[str, Any] = dict(method='random')
        if run.clusters == 'semantic':
            options = dict(method='sinkhorn', epochs=10, assign='posterior')
        space = SubnetSpace(num_groups=4, num_blocks=run.blocks)
        build_clusters(features, space, seed=seed, min_size=BATCH, **options).save(file)
    return file


def features_of(name: str, seed: int, images: StudyImages, out: Path) -> Features:
    """Features of the pool by the network of a run."""
    folder = out / f'seed{seed}' / f'features_{name}'
    if folder.exists():
        return Features.load(folder)
    pool = ImageFolder(str(images.root), ann_file=str(images.list_file.resolve()))
    network = load_network(str(checkpoint_of(name, seed, images, out))).module
    return extract_features(network, pool, folder, pool=pool_features, resize=SIZE, size=SIZE, batch_size=256)
