"""How the demo scores: splits that keep choice and score apart, features that nobody learned, and a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import sdr_mm
from projects.real_data.mixed import SIZE, in_memory
from sdr_mm.evaluation import Split, Task, task_features
from sdr_mm.images import ImageStore
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNImages, BNReset, Ranking, Scorer

from .table import Line, routed_subnet, scoring


def demo_task(task: Task, per_class: int | None = None, parts: int = 5, seed: int = 0) -> Task:
    """A task in memory whose first split chooses a sub-net, and whose other splits score it.

    Args:
        task (Task): With a split that chooses and one that scores, as
            :func:`~projects.real_data.mixed.choose_and_score` gives it.
        per_class (int, optional): Images of each class that are kept in each part: of those that train, that choose
            and that score. Defaults to None, all.
        parts (int): Disjoint parts, by class, of the images that test. A split for each has the same images that
            train, so that the spread over the parts is the error of the mean. Defaults to 5.
        seed (int): Defaults to 0.
    """
    random = np.random.default_rng(seed)
    choose, score = task.splits
    if per_class is not None:
        dropped = [random.permutation(part[task.labels[part] == label])[per_class:]
                   for part in (choose.train, choose.test, score.test) for label in range(len(task.classes))]
        task = task.without(np.concatenate(dropped).tolist())
    task = in_memory(task)
    choose, score = task.splits
    shuffled = random.permutation(score.test)
    # Dealt out class by class.
    dealt = shuffled[np.argsort(task.labels[shuffled], kind='stable')]
    return replace(task, splits=[choose, *(Split(score.train, np.sort(dealt[part::parts])) for part in range(parts))])


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
    """A linear probe on networks from files and on the sub-nets that were routed to, with BN statistics of the task."""
    fits = sdr.settings
    lines = []
    for name, file in files.items():
        network, scores = load_network(str(file)).module, {}
        for task in tasks:
            BNReset('task').apply(network, task_images(task), normalization=fits.normalization)
            features, _ = task_features(network, task, normalization=fits.normalization, resize=SIZE, size=SIZE)
            scores[task.name] = linear_scores(features, task)
        lines.append(Line(name, scores, block))
    routed = {task.name: linear_scores(sdr.subnet(routed_subnet(ranking), bn='task', task=task).features(task), task)
              for task, ranking in zip(tasks, rankings)}
    return [*lines, Line('routed sub-net', routed, block)]


def task_images(task: Task) -> BNImages:
    """Its training images, for BN statistics."""
    return BNImages(task=ImageStore(task.paths, resize=SIZE, size=SIZE), train=task.train_images)


def linear_scores(features: Tensor, task: Task) -> list[float]:
    """Accuracy of logistic regression on standardized features, in per cent, for each split that scores.

    The splits of :func:`demo_task` train on the same images, so there is one probe for all.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    train = task.splits[1].train
    probe.fit(features[train].numpy(), task.labels[train])
    return [100 * float(probe.score(features[split.test].numpy(), task.labels[split.test]))
            for split in task.splits[1:]]
