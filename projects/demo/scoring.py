"""How the demo scores: splits that keep choice and score apart, features that nobody learned, and a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import sdr_mm
from sdr_mm.evaluation import Split, Task, stratified_splits, task_features
from sdr_mm.images import ImageStore
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNImages, BNReset, Ranking, Scorer

from .table import Line, routed_subnets, scoring


def read_task(folder: Path, name: str, size: int, divisions: int) -> Task:
    """A task with its readable images in memory, ``size`` × ``size``, on :func:`routing_splits`."""
    task = routing_splits(Task.from_folder(folder, name=name), divisions)
    store = ImageStore(task.paths, resize=size, size=size, on_error='skip')
    images = store.get(store.read_all(f'reading {name}'))
    return replace(task.without(sorted(store.failed)), paths=list(images))


def routing_splits(task: Task, divisions: int, fraction: float = 0.25, seed: int = 0) -> Task:
    """Replaces the splits of a task by ``2 * divisions`` ones.

    The first half chooses a sub-net: it trains on some images and tests on others. The second half
    scores it, each on images that its counterpart in the first has never seen, and trains on all the
    rest. Images of one group of the task stay together.

    Args:
        task (Task): Its own splits are not used.
        divisions (int): How often the images are divided.
        fraction (float): Part of the images that scores, and part of the rest that chooses. Defaults to 0.25.
        seed (int): Defaults to 0.

    Raises:
        InputError: If a class has fewer than three images.
    """
    score = stratified_splits(task.labels, splits=divisions, test_fraction=fraction, seed=seed, classes=task.classes,
                              where=task.name, groups=task.groups)
    choose = []
    for number, split in enumerate(score):
        inner, = stratified_splits(task.labels[split.train], test_fraction=fraction, seed=seed + number + 1,
                                   classes=task.classes, where=task.name,
                                   groups=None if task.groups is None else task.groups[split.train])
        choose.append(Split(split.train[inner.train], split.train[inner.test]))
    return replace(task, splits=[*choose, *score])


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


def reference_lines(tasks: Sequence[Task], k: int, block: str) -> list[Line]:
    """kNN on features that nobody had to learn, which learned ones have to beat."""
    kinds, knn = {'raw pixels': pixel_features, 'color histogram': color_histograms}, Scorer(k=k)
    images = [np.stack([np.asarray(image) for image in task.paths]) for task in tasks]
    return [Line(name, {task.name: scoring(*knn(features(pixels), task).values())
                        for task, pixels in zip(tasks, images)}, block) for name, features in kinds.items()]


def linear_lines(sdr: sdr_mm.SDR, tasks: Sequence[Task], rankings: Sequence[Ranking], files: dict[str, str | Path],
                 block: str) -> list[Line]:
    """A linear probe on networks from files, on the super-net, and on the sub-nets that were routed to."""
    fits, pool = sdr.settings, sdr.pool()
    images = BNImages(pool=pool, pool_store=ImageStore(pool.paths, resize=fits.resize, size=fits.size, on_error='skip'))
    networks: dict[str, nn.Module] = {name: load_network(str(file)).module for name, file in files.items()}
    networks['super-net'] = deepcopy(sdr.backbone)
    lines = []
    for name, network in networks.items():
        BNReset('all').apply(network, images, normalization=fits.normalization)
        features = {task.name: task_features(network, task, normalization=fits.normalization, resize=fits.resize,
                                             size=fits.size)[0] for task in tasks}
        lines.append(Line(name, {task.name: [linear_accuracy(features[task.name], task, number)
                                             for number in range(len(task.splits) // 2)] for task in tasks}, block))
    routed = [routed_subnets(ranking) for ranking in rankings]
    subnets = {index: sdr.subnet(index, bn='all', on_error='skip') for index in set(sum(routed, []))}
    scores = {task.name: [linear_accuracy(subnets[index].features(task), task, number)
                          for number, index in enumerate(chosen)] for task, chosen in zip(tasks, routed)}
    return [*lines, Line('routed sub-net', scores, block)]


def linear_accuracy(features: Tensor, task: Task, number: int) -> float:
    """Accuracy of logistic regression on standardized features, in per cent, for one split that scores."""
    split = task.splits[len(task.splits) // 2 + number]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    probe.fit(features[split.train].numpy(), task.labels[split.train])
    return 100 * float(probe.score(features[split.test].numpy(), task.labels[split.test]))
