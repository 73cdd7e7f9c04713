"""Routing by kNN: which sub-net suits a task best (section 4.3 of the paper)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import torch
from mmengine import dist
from mmpretrain.models.backbones import ResNet
from torch import nn

from ..cli import progress
from ..errors import InputError
from ..evaluation.features import pooled_features
from ..evaluation.images import ImageStore
from ..evaluation.knn import knn_predict
from ..evaluation.metrics import accuracy, mean_per_class
from ..evaluation.task import Task
from ..models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, load_resnet
from ..models.sdr_resnet import SDRResNet
from ..registry import EVALUATORS
from .bn_reset import reset_bn
from .export import extract_subnet, load_subnet
from .load_sdr import Pool
from .result import BASELINE_ROW, SUPERNET_ROW, RoutingResult, RoutingRow

METRICS = {'accuracy': accuracy, 'mean_per_class': mean_per_class}
BN_RESETS = ('cluster', 'task', 'all', 'none')


@dataclass(frozen=True)
class BNReset:
    """Which images give a network its BN statistics.

    Images are prepared as for the features, because the statistics are to describe the input that the
    network will see.

    Args:
        mode (str): ``'cluster'``: a sub-net's on its cluster, any other network's on the whole pool;
            ``'all'``: everyone's on the whole pool; ``'task'``: on the training images of the task,
            without their labels; ``'none'``: a sub-net keeps its slice of the super-net's statistics.
            Defaults to 'cluster'.
        num_images (int): Most images. Defaults to 2000.
        batch_size (int): Images in a batch. Defaults to 200.
        seed (int): Chooses the images. Defaults to 0.

    Raises:
        InputError: If an argument is out of range.
    """

    mode: str = 'cluster'
    num_images: int = 2000
    batch_size: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in BN_RESETS:
            raise InputError(f'BN reset is one of {", ".join(BN_RESETS)}, got {self.mode!r}')
        if self.num_images < 2 or self.batch_size < 2:
            raise InputError(f'BN reset needs at least 2 images and batches of at least 2, got {self.num_images} and '
                             f'{self.batch_size}')

    def images(self, subnet: Optional[int], pool: Optional[Pool],
               task_images: Optional[np.ndarray]) -> tuple[str, np.ndarray]:
        """Chooses the images of one network.

        Args:
            subnet (int, optional): Index of the sub-net; None for any other network.
            pool (Pool, optional): For ``'cluster'`` and ``'all'``.
            task_images (np.ndarray, optional): For ``'task'``: numbers of the images to choose from.

        Returns:
            tuple: What they are, for tables, and their numbers, in random order.
        """
        stream = 0
        if self.mode == 'task':
            assert task_images is not None
            name, choice = 'task', task_images
        elif self.mode == 'cluster' and subnet is not None:
            assert pool is not None and pool.clusters is not None
            # Clusters have paths, and by default, but not always, cluster i has path i.
            cluster = int(np.flatnonzero(pool.clusters.subnets == subnet)[0])
            name, stream = f'cluster {cluster}', cluster + 1
            choice = np.flatnonzero(pool.clusters.assignment == cluster)
        else:
            assert pool is not None
            name, choice = 'pool', np.arange(len(pool.paths))
        random = np.random.default_rng([self.seed, stream])
        return name, random.permutation(choice)[:self.num_images]


@EVALUATORS.register_module()
class RoutingEvaluator:
    """Ranks all sub-nets for a task by weighted cosine kNN.

    Beside them it scores the super-net and, if given, a baseline, with their BN statistics reset in the
    same way, and once more with their own, so that an effect of the statistics cannot pass for a gain of
    routing. The networks are spread over the ranks; every rank holds the images.

    Args:
        task (Task | str | Path): The task, or its folder (:meth:`Task.from_folder`).
        baseline (str | Path, optional): Any ResNet checkpoint to compare with. Defaults to None.
        k (int): Neighbours, clamped to the training size. Defaults to 200.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        metric (str): ``'accuracy'`` or ``'mean_per_class'``. Defaults to 'accuracy'.
        bn_reset (str): See :class:`BNReset`. Defaults to 'cluster'.
        bn_images (int): Most images for BN reset. Defaults to 2000.
        batch_size (int): Images in a batch, for BN reset and features. Defaults to 200.
        resize (int): Short side of the images, in pixels. Defaults to 256.
        size (int): Side of the centre crop. Defaults to 224.
        splits (int): Random splits of a folder that has none of its own. Defaults to 1.
        seed (int): Of the splits and of the choice of images for BN reset. Defaults to 0.
        on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'`` and count it.
            Defaults to 'stop'.
        workers (int): Threads that decode. Defaults to 2.

    Raises:
        InputError: If an argument is out of range or the task cannot be used.
    """

    def __init__(self,
                 task: Union[Task, str, Path],
                 *,
                 baseline: Union[str, Path, None] = None,
                 k: int = 200,
                 temperature: float = 0.07,
                 metric: str = 'accuracy',
                 bn_reset: str = 'cluster',
                 bn_images: int = 2000,
                 batch_size: int = 200,
                 resize: int = 256,
                 size: int = 224,
                 splits: int = 1,
                 seed: int = 0,
                 on_error: str = 'stop',
                 workers: int = 2) -> None:
        if metric not in METRICS:
            raise InputError(f'the metric of routing is one of {", ".join(METRICS)}, got {metric!r}')
        self.folder = None if isinstance(task, Task) else str(Path(task).expanduser().resolve())
        self.task = task if isinstance(task, Task) else Task.from_folder(task, splits=splits, seed=seed)
        self.baseline = baseline
        self.k, self.temperature, self.metric = k, temperature, metric
        self.bn = BNReset(bn_reset, bn_images, batch_size, seed)
        self.resize, self.size, self.on_error, self.workers = resize, size, on_error, workers

    def _store(self, paths: Sequence[Any]) -> ImageStore:
        return ImageStore(
            paths, resize=self.resize, size=self.size, on_error=self.on_error, workers=self.workers)

    def evaluate(self,
                 backbone: SDRResNet,
                 *,
                 pool: Optional[Pool] = None,
                 mean: Sequence[float] = IMAGENET_MEAN,
                 std: Sequence[float] = IMAGENET_STD) -> RoutingResult:
        """Ranks the sub-nets of ``backbone``, on its device. All ranks must call.

        Args:
            backbone (SDRResNet): The SDRNet; it is not changed.
            pool (Pool, optional): Images of pre-training, needed for ``bn_reset`` ``'cluster'`` and
                ``'all'``. Defaults to None.
            mean (Sequence[float]): Normalisation of the SDRNet's input, RGB, 0 to 255. Defaults to
                ImageNet's. The baseline has its own.
            std (Sequence[float]): The same.

        Returns:
            RoutingResult: The same on all ranks.

        Raises:
            InputError: If images of pre-training are needed and missing, or images or features cannot be
                used.
        """
        start = time.monotonic()
        if self.bn.mode in ('cluster', 'all') and (pool is None or self.bn.mode == 'cluster' and pool.clusters is None):
            raise InputError(f'BN reset {self.bn.mode!r} needs the images of pre-training'
                             f'{" and their clusters" if self.bn.mode == "cluster" else ""}: '
                             f'give them, or choose --bn-reset task')
        error: Optional[InputError] = None
        rows: list[RoutingRow] = []
        images, skipped, task = 0, 0, self.task
        try:
            store = self._store(task.paths)
            readable = store.read_all(f'reading {task.name}')
            skipped = len(store) - len(readable)
            task = task.without(sorted(store.failed))
            session = _Session(self, backbone, task, store, readable, pool, (tuple(mean), tuple(std)))
            mine = session.candidates()[dist.get_rank()::dist.get_world_size()]
            for name, subnet, reset in progress(mine, desc=f'routing on {task.name}'):
                try:
                    rows.append(session.score(name, subnet, reset))
                except InputError as inner:
                    raise InputError(f'{name}: {inner}') from inner
            images = session.images
        except InputError as caught:
            error = caught
        # Exchanged even after an error, or the other ranks would wait for ever.
        parts = dist.all_gather_object((rows, images, None if error is None else str(error)))
        for _, _, message in parts:
            if message is not None:
                raise error or InputError(message)
        rows = [row for part, *_ in parts for row in part]
        settings = dict(
            folder=self.folder, metric=self.metric, k=self.k, temperature=self.temperature, resize=self.resize,
            size=self.size, bn_reset=self.bn.mode, bn_images=self.bn.num_images, batch_size=self.bn.batch_size,
            seed=self.bn.seed, on_error=self.on_error, baseline=None if self.baseline is None else str(self.baseline),
            classes=len(task.classes), train=len(task.splits[0].train), test=len(task.splits[0].test),
            splits=len(task.splits), skipped=skipped)
        return RoutingResult.from_rows(task.name, rows, settings, time.monotonic() - start,
                                       sum(images for _, images, _ in parts))


class _Session:
    """One ranking on one rank: what all its networks have in common."""

    def __init__(self, evaluator: RoutingEvaluator, backbone: SDRResNet, task: Task, store: ImageStore,
                 readable: np.ndarray, pool: Optional[Pool], normalisation: tuple[Any, Any]) -> None:
        self.evaluator, self.backbone, self.task, self.store = evaluator, backbone, task, store
        self.readable, self.pool, self.normalisation = readable, pool, normalisation
        self.pool_store = evaluator._store(pool.paths) if pool is not None else None
        self.device = next(backbone.parameters()).device
        self.subnet: Optional[ResNet] = None
        self.images = 0

    def candidates(self) -> list[tuple[str, Optional[int], bool]]:
        """Name, sub-net and whether to reset its BN, of all networks of the ranking."""
        others = [SUPERNET_ROW] + ([BASELINE_ROW] if self.evaluator.baseline is not None else [])
        reset = self.evaluator.bn.mode != 'none'
        found: list[tuple[str, Optional[int], bool]] = [(name, None, reset) for name in others]
        if reset:
            found += [(f'{name}, own BN', None, False) for name in others]
        return found + [(f'sub-net {index}', index, reset) for index in range(len(self.backbone.space))]

    def _network(self, name: str, subnet: Optional[int]) -> tuple[nn.Module, tuple[Any, Any]]:
        if name.startswith(BASELINE_ROW):
            assert self.evaluator.baseline is not None
            network, info = load_resnet(self.evaluator.baseline, 'baseline')
            return network.to(self.device), (info['mean'], info['std'])
        if subnet is None:
            return deepcopy(self.backbone).eval(), self.normalisation
        path = self.backbone.space.path(subnet)
        if self.subnet is None:
            self.subnet = extract_subnet(self.backbone, path)
        else:
            load_subnet(self.subnet, self.backbone, path)
        return self.subnet, self.normalisation

    def score(self, name: str, subnet: Optional[int], reset: bool) -> RoutingRow:
        """Scores one network."""
        options = self.evaluator
        network, (mean, std) = self._network(name, subnet)

        def batches(store: ImageStore, indices: np.ndarray) -> Any:
            return store.batches(indices, options.bn.batch_size, mean=mean, std=std, device=self.device)

        bn = 'own'
        if reset:
            task_images = self.readable[self.task.train_images]
            bn, chosen = options.bn.images(subnet, self.pool, task_images)
            source = self.store if options.bn.mode == 'task' else self.pool_store
            assert source is not None
            self.images += reset_bn(network, batches(source, chosen), across_ranks=False)
        features = pooled_features(network, batches(self.store, self.readable))
        self.images += len(features)
        metric: Callable[[np.ndarray, np.ndarray], float] = METRICS[options.metric]
        labels = self.task.labels
        scores = []
        for split in self.task.splits:
            train, test = (torch.from_numpy(part).to(self.device) for part in (split.train, split.test))
            votes = knn_predict(features[train], labels[split.train], features[test], k=(options.k, ),
                                temperature=options.temperature, num_classes=len(self.task.classes))
            scores.append(metric(votes[options.k], labels[split.test]))
        path = None if subnet is None else list(self.backbone.space.path(subnet))
        return RoutingRow(name, subnet, path, bn, scores)
