"""How a network of the study is scored: kNN and a linear probe, on images that neither training nor choice has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import sdr_mm
from sdr_mm.datasets.pool import Pool
from sdr_mm.evaluation import Task, task_features
from sdr_mm.images import ImageStore
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNImages, BNReset, Scorer

from .images import SIZE

K = 20
CHOOSE, SCORE = 0, 1
"""Splits of a task: of its training images alone, and the one that counts."""

Scores = dict[str, dict[str, float]]
"""Accuracy in per cent by task, and for each ``knn`` and ``linear``."""


def pixel_features(images: np.ndarray, side: int = 16) -> Tensor:
    """Raw pixels ``(n, H, W, 3)`` uint8 averaged down: ``(n, 3 * side * side)``, centered so that cosines differ."""
    maps = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5
    return F.adaptive_avg_pool2d(maps, side).flatten(1)


def color_histograms(images: np.ndarray, levels: int = 4) -> Tensor:
    """Joint histograms ``(n, levels ** 3)`` of the color channels of ``(n, H, W, 3)`` uint8.

    They are the square roots of the shares, so that a cosine is the Bhattacharyya coefficient.
    """
    bins = (images.astype(np.int64) * levels) // 256
    codes = (bins[..., 0] * levels + bins[..., 1]) * levels + bins[..., 2]
    counts = np.stack([np.bincount(code.ravel(), minlength=levels**3) for code in codes])
    return torch.from_numpy(counts / counts.sum(1, keepdims=True)).float().sqrt()


def linear_accuracy(features: Tensor, task: Task, number: int = SCORE) -> float:
    """Accuracy of logistic regression on standardized features, in per cent, for one split."""
    split = task.splits[number]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    probe.fit(features[split.train].numpy(), task.labels[split.train])
    return 100 * float(probe.score(features[split.test].numpy(), task.labels[split.test]))


def score_features(features: Tensor, task: Task) -> dict[str, float]:
    """``knn`` and ``linear`` of features ``(n, C)`` of a task's images."""
    knn, = Scorer(k=K)(features, task).values()
    return dict(knn=round(knn[SCORE], 2), linear=round(linear_accuracy(features, task), 2))


def score_references(tasks: Sequence[Task]) -> dict[str, Scores]:
    """Of features that nobody had to learn."""
    kinds: dict[str, Callable[[np.ndarray], Tensor]] = {'raw pixels': pixel_features,
                                                        'color histogram': color_histograms}
    images = {task.name: np.stack([np.asarray(image) for image in task.paths]) for task in tasks}
    return {name: {task.name: score_features(features(images[task.name]), task) for task in tasks}
            for name, features in kinds.items()}


def score_network(file: str | Path, tasks: Sequence[Task], bn: str, pool: Pool) -> Scores:
    """Of a plain network.

    Args:
        file (str | Path): Its checkpoint.
        tasks (Sequence[Task]): The tasks.
        bn (str): Images of its BN statistics: ``'task'``, those of each task that train, or ``'own'``, those of the
            pool.
        pool (Pool): Images of the pool.
    """
    loaded = load_network(str(file))
    network, normalization = loaded.module, loaded.settings.normalization
    if bn == 'own':
        store = ImageStore(pool.paths, resize=SIZE, size=SIZE)
        BNReset('all').apply(network, BNImages(pool=pool, pool_store=store), normalization=normalization)
    scores = {}
    for task in tasks:
        if bn == 'task':
            BNReset('task').apply(network, task_images(task), normalization=normalization)
        features, _ = task_features(network, task, normalization=normalization, resize=SIZE, size=SIZE)
        scores[task.name] = score_features(features, task)
    return scores


def score_subnets(file: str | Path, tasks: Sequence[Task], bn: str, pool: Pool) -> tuple[Scores, dict[str, Any]]:
    """Of the routed sub-net of an SDRNet, which was chosen on other images, and kNN of all of them.

    Args:
        file, tasks, pool: As for :func:`score_network`.
        bn (str): ``'task'`` for the same BN images for all, or ``'own'`` for those of each sub-net's cluster.

    Returns:
        tuple: The scores, and by task ``routed`` (its number), ``supernet`` and ``subnets`` (kNN on the images that
        choose, and on those that count).
    """
    sdr = sdr_mm.load(file, device='cpu')
    scores, details = {}, {}
    for task in tasks:
        mode = 'task' if bn == 'task' else 'cluster'
        ranking = sdr.route(task, bn=mode, k=K)
        found = {network.subnet: network.scores for network in ranking.subnets if network.subnet is not None}
        routed = max(found, key=lambda number: found[number][CHOOSE])
        subnet = sdr.subnet(routed, bn=mode, task=task)
        linear = linear_accuracy(subnet.features(task), task)
        supernet = ranking.network('super-net')
        assert supernet is not None
        scores[task.name] = dict(knn=round(found[routed][SCORE], 2), linear=round(linear, 2))
        details[task.name] = dict(routed=routed, supernet=round(supernet.scores[SCORE], 2),
                                  subnets=[[round(score, 2) for score in found[number]] for number in sorted(found)])
    return scores, details


def task_images(task: Task) -> BNImages:
    """Its training images, for BN statistics."""
    return BNImages(task=ImageStore(task.paths, resize=SIZE, size=SIZE), train=task.train_images)
