"""How a network of the study is scored: kNN and a linear probe, on images that neither training nor choice has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import sdr_mm
from projects.demo.scoring import color_histograms, linear_scores, pixel_features, task_images
from projects.demo.table import routed_subnet
from projects.real_data.mixed import SIZE
from sdr_mm.datasets.pool import Pool
from sdr_mm.evaluation import Task, task_features
from sdr_mm.images import ImageStore
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNImages, BNReset, Scorer

K = 20
SCORE = 1
"""The split of a task that counts; the one before it, of its training images alone, chooses."""

Scores = dict[str, dict[str, float]]
"""Accuracy in per cent by task, and for each ``knn`` and ``linear``."""


def score_features(features: Tensor, task: Task) -> dict[str, float]:
    """``knn`` and ``linear`` of features ``(n, C)`` of a task's images."""
    return dict(knn=round(knn(features, task)[SCORE], 2), linear=round(linear_scores(features, task)[0], 2))


def knn(features: Tensor, task: Task) -> list[float]:
    """kNN accuracy of features ``(n, C)`` on each split of a task."""
    scores, = Scorer(k=K)(features, task).values()
    return scores


def score_references(tasks: Sequence[Task]) -> dict[str, Scores]:
    """Of features that nobody had to learn."""
    kinds: dict[str, Callable[[np.ndarray], Tensor]] = {'raw pixels': pixel_features,
                                                        'color histogram': color_histograms}
    images = {task.name: np.stack([np.asarray(image) for image in task.paths]) for task in tasks}
    return {name: {task.name: score_features(features(images[task.name]), task) for task in tasks}
            for name, features in kinds.items()}


def score_network(file: str | Path, tasks: Sequence[Task], bn: str, pool: Pool | None = None) -> Scores:
    """Of a plain network.

    Args:
        file (str | Path): Its checkpoint.
        tasks (Sequence[Task]): The tasks.
        bn (str): Images of its BN statistics: ``'task'``, those of each task that train, or ``'own'``, those of the
            pool.
        pool (Pool, optional): Images of the pool, for ``'own'``. Defaults to None.
    """
    return {task.name: score_features(features, task) for task, features in network_features(file, tasks, bn, pool)}


def network_features(file: str | Path, tasks: Sequence[Task], bn: str,
                     pool: Pool | None = None) -> Iterator[tuple[Task, Tensor]]:
    """Each task with the features ``(n, C)`` of its images; arguments are those of :func:`score_network`."""
    loaded = load_network(str(file))
    network, normalization = loaded.module, loaded.settings.normalization
    if bn == 'own':
        assert pool is not None
        store = ImageStore(pool.paths, resize=SIZE, size=SIZE)
        BNReset('all').apply(network, BNImages(pool=pool, pool_store=store), normalization=normalization)
    for task in tasks:
        if bn == 'task':
            BNReset('task').apply(network, task_images(task), normalization=normalization)
        yield task, task_features(network, task, normalization=normalization, resize=SIZE, size=SIZE)[0]


def score_separate(files: Sequence[Path], tasks: Sequence[Task]) -> tuple[Scores, dict[str, Any]]:
    """Of the best of some plain networks, as :func:`score_subnets` scores sub-nets, with BN statistics of the task."""
    found: dict[str, list[list[float]]] = {task.name: [] for task in tasks}
    scores, routed = {}, {}
    for number, file in enumerate(files):
        for task, features in network_features(file, tasks, 'task'):
            subnets = found[task.name]
            subnets.append([round(score, 2) for score in knn(features, task)])
            if all(subnets[-1][0] > score for score, _ in subnets[:-1]):
                routed[task.name], scores[task.name] = number, score_features(features, task)
    return scores, {name: dict(routed=routed[name], subnets=subnets) for name, subnets in found.items()}


def score_subnets(file: str | Path, tasks: Sequence[Task], mode: str) -> tuple[Scores, dict[str, Any]]:
    """Of the routed sub-net of an SDRNet, which was chosen on other images, and kNN of all of them.

    Args:
        file, tasks: As for :func:`score_network`.
        mode (str): Of BN reset: ``'task'``, the same images for all, or those that it was trained on: ``'cluster'``, or
            ``'all'``.

    Returns:
        tuple: The scores, and by task ``routed`` (its number), ``supernet`` and ``subnets`` (kNN on the images that
        choose, and on those that count).
    """
    sdr = sdr_mm.load(file, device='cpu')
    scores, details = {}, {}
    for task in tasks:
        ranking = sdr.route(task, bn=mode, k=K)
        found = {network.subnet: network.scores for network in ranking.subnets if network.subnet is not None}
        routed = routed_subnet(ranking)
        subnet = sdr.subnet(routed, bn=mode, task=task)
        linear = linear_scores(subnet.features(task), task)[0]
        supernet = ranking.network('super-net')
        assert supernet is not None
        scores[task.name] = dict(knn=round(found[routed][SCORE], 2), linear=round(linear, 2))
        details[task.name] = dict(routed=routed, supernet=round(supernet.scores[SCORE], 2),
                                  subnets=[[round(score, 2) for score in found[number]] for number in sorted(found)])
    return scores, details
