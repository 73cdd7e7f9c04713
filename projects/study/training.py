"""Training one run of a study, each step once: what is there already is not made again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import nn

from projects.real_data.mixed import SIZE
from sdr_mm.clustering import Features, build_clusters, extract_features
from sdr_mm.clusters import Clusters
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.engine import configs
from sdr_mm.engine.training import train
from sdr_mm.engine.work_dir import RECORD
from sdr_mm.errors import InputError
from sdr_mm.files import write_lines
from sdr_mm.models.backbone import pool_features
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.pruning import narrower, num_parameters, prune_channels, prune_weights
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import export_subnet
from sdr_mm.space import SubnetSpace

from .images import StudyImages
from .plan import Plan, Run

BATCH = 128


@dataclass(frozen=True)
class Training:
    """The trainings of a study with one seed.

    Attributes:
        plan (Plan): The study.
        seed (int): Of weights, order and views of the images, and clusters.
        images (StudyImages): What it trains on.
        out (Path): Folder of all studies.
    """

    plan: Plan
    seed: int
    images: StudyImages
    out: Path

    @property
    def folder(self) -> Path:
        """Of all runs, a folder each, and of what they share."""
        return self.out / self.plan.name / f'seed{self.seed}'

    def checkpoint_of(self, name: str) -> Path:
        """The checkpoint of a run; it is trained first, or resumed, unless it is there.

        Raises:
            InputError: If its domains have no images.
        """
        run, list_file = self.plan.runs[name], self.images.list_file
        if run.prune:
            return self._pruned(run, self.folder / f'{name}.pth')
        if not run.domains:
            return self._trained(run, list_file, self.folder / name)
        names = self.images.of(run.domains)
        if len(names) < BATCH:
            raise InputError(f'run {name}: the domains {", ".join(run.domains)} have {len(names)} images of the pool, '
                             f'and a batch has {BATCH}')
        iterations = run.epochs * (len(self.images.of(())) // BATCH)
        list_file = self.folder / name / 'images.txt'
        list_file.parent.mkdir(parents=True, exist_ok=True)
        write_lines(list_file, names, overwrite=True)
        return self._trained(replace(run, epochs=round(iterations / (len(names) // BATCH))), list_file,
                             self.folder / name)

    def checkpoints_of(self, name: str) -> list[Path]:
        """As :meth:`checkpoint_of`, of a run that has a separate network for each cluster."""
        run, folder = self.plan.runs[name], self.folder / name
        clusters = Clusters.load(self._clusters_of(run))
        names, files = self.images.of(()), []
        folder.mkdir(parents=True, exist_ok=True)
        for cluster in range(clusters.num_clusters):
            members = [names[number] for number in np.flatnonzero(clusters.assignment == cluster)]
            list_file = folder / f'{cluster}.txt'
            write_lines(list_file, members, overwrite=True)
            files.append(self._trained(replace(run, clusters=''), list_file, folder / str(cluster)))
        return files

    def _pruned(self, run: Run, file: Path) -> Path:
        """The network that ``run`` begins with, pruned to the size of that of the first run (``tools/prune.py``)."""
        if not file.exists():
            _, first = load_resnet(self.checkpoint_of(self.plan.first))
            network: nn.Module
            network, info = load_resnet(self.checkpoint_of(run.start))
            config = info['config']
            if run.prune == 'channels':
                width, stem = (first['config'][key] for key in ('base_channels', 'stem_channels'))
                config = narrower(config, width, stem - 1)
                network = prune_channels(network, config)
            else:
                prune_weights(network, num_parameters(first['config']))
            export_subnet(network, file, config=config, meta=dict(settings=info['settings'].record()))
        return file

    def _trained(self, run: Run, list_file: Path, work_dir: Path) -> Path:
        """The last checkpoint of a run in its folder, which also has how many seconds it took without a break."""
        file = work_dir / f'epoch_{run.epochs}.pth'
        if not file.exists():
            cfg = self._configured(run, list_file)
            cfg.work_dir, cfg.resume = str(work_dir), (work_dir / RECORD).exists()
            started = time.monotonic()
            train(cfg, guard=True)
            if not cfg.resume:
                (work_dir / 'seconds').write_text(f'{time.monotonic() - started:.0f}\n')
        return file

    def _configured(self, run: Run, list_file: Path) -> Config:
        """The config of a run, as ``tools/train.py`` would make it of its options, on the images of ``list_file``."""
        cfg = configs.load_config(str(run.config), dict(run.options))
        cfg.randomness, cfg.log_level = dict(seed=self.seed), 'WARNING'
        cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1)
        configs.use_epochs(cfg, run.epochs)
        configs.use_folder(cfg, str(self.images.root), str(list_file.resolve()))
        configs.use_on_error(cfg, 'stop')
        if run.clusters:
            configs.use_clusters(cfg, str(self._clusters_of(run)))
            cfg.train_dataloader.dataset.share_images = run.shared
        if run.start:
            configs.use_init_from(cfg, str(self.checkpoint_of(run.start)))
        return cfg

    def _clusters_of(self, run: Run) -> Path:
        """The clusters that a run trains on, by the features of the network it begins with."""
        source = run.start or self.plan.first
        file = self.folder / f'clusters_{source}_{run.clusters}_{run.paths}_{4 ** run.blocks}.npz'
        if not file.exists():
            features = self._features_of(source)
            options: dict[str, Any] = dict(method='random')
            if run.clusters == 'semantic':
                options = dict(method='sinkhorn', epochs=10, assign='posterior')
            space = SubnetSpace(num_groups=4, num_blocks=run.blocks)
            build_clusters(features, space, seed=self.seed, min_size=BATCH, paths=run.paths, **options).save(file)
        return file

    def _features_of(self, name: str) -> Features:
        """Features of the pool by the network of a run."""
        folder = self.folder / f'features_{name}'
        if folder.exists():
            return Features.load(folder)
        pool = ImageFolder(str(self.images.root), ann_file=str(self.images.list_file.resolve()))
        network = load_network(str(self.checkpoint_of(name))).module
        return extract_features(network, pool, folder, pool=pool_features, resize=SIZE, size=SIZE, batch_size=256)
