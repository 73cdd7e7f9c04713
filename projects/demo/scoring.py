"""Scores beside the ranking of the sub-nets: what nobody learned, and linear probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmpretrain.models.backbones import ResNet
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from sdr_mm.cli import progress
from sdr_mm.evaluation.features import pooled_features
from sdr_mm.evaluation.knn import knn_predict
from sdr_mm.evaluation.metrics import accuracy
from sdr_mm.evaluation.task import Task
from sdr_mm.images import ImageStore
from sdr_mm.models.checkpoints import build_resnet, load_resnet
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.routing.bn_reset import reset_bn
from sdr_mm.routing.bn_source import BNReset
from sdr_mm.routing.export import extract_subnet
from sdr_mm.routing.load_sdr import Pool
from sdr_mm.routing.result import RoutingResult

from .recipe import Recipe
from .references import color_histograms, pixel_features
from .table import Line, routed_subnets

# Titles of the blocks of the table.
NOT_LEARNED = 'kNN, features not learned'
LINEAR = 'linear probe, BN statistics from the whole pool'


def untrained_network(baseline: Path) -> ResNet:
    """The baseline's network before it learned anything.

    Its weights are PyTorch's initial ones. Those of MMPretrain, whose residual branches begin as zero,
    would make a weaker opponent.
    """
    _, info = load_resnet(baseline)
    torch.manual_seed(0)
    return build_resnet(info['config'])


class Scorer:
    """Scores features and networks on the tasks, on the splits of :func:`routing_splits` that score.

    Args:
        tasks (Mapping[str, Task]): The tasks.
        pool (Pool): The images that BN statistics come from.
        recipe (Recipe): Sizes.
        normalization (tuple): Mean and std of the input.
    """

    def __init__(self, tasks: Mapping[str, Task], pool: Pool, recipe: Recipe, normalization: tuple[Any, Any]) -> None:
        self.recipe, self.pool = recipe, pool
        self.mean, self.std = normalization
        self.images = self._store(pool.paths)
        self.tasks: dict[str, Task] = {}
        self.stores: dict[str, ImageStore] = {}
        for name, task in tasks.items():
            store = self._store(task.paths)
            store.read_all(f'reading {name}')
            self.tasks[name] = task.without(sorted(store.failed))
            self.stores[name] = self._store(self.tasks[name].paths)

    def _store(self, paths: Sequence[Any]) -> ImageStore:
        return ImageStore(paths, resize=self.recipe.size, size=self.recipe.size, on_error='skip')

    def pixels(self, name: str) -> np.ndarray:
        """The images of a task, ``(n, size, size, 3)``."""
        return self.stores[name].get(np.arange(len(self.stores[name])))

    def features(self, network: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
        """Features of a network on the tasks of these names, after BN reset on the pool."""
        _, chosen = BNReset('all').images(None, self.pool, None)
        reset_bn(network, self.images.batches(chosen, 200, mean=self.mean, std=self.std))
        features = {}
        for name in names:
            store = self.stores[name]
            everything = np.arange(len(store))
            features[name] = pooled_features(network, store.batches(everything, 200, mean=self.mean, std=self.std))
        return features

    def knn(self, name: str, features: Tensor) -> list[float]:
        """Accuracy of kNN, in per cent, for each split that scores."""
        task, k = self.tasks[name], self.recipe.k
        return [
            accuracy(
                knn_predict(features[split.train], task.labels[split.train], features[split.test], k=(k, ),
                            num_classes=len(task.classes))[k], task.labels[split.test])
            for split in task.splits[self.recipe.repeats:]
        ]

    def linear(self, name: str, features: Tensor, number: int) -> float:
        """Accuracy of logistic regression on standardized features, in per cent, for one split."""
        task = self.tasks[name]
        split = task.splits[self.recipe.repeats + number]
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        probe.fit(features[split.train].numpy(), task.labels[split.train])
        return 100 * float(probe.score(features[split.test].numpy(), task.labels[split.test]))


def reference_lines(scorer: Scorer, untrained: ResNet) -> list[Line]:
    """kNN on raw pixels, color histograms, and a random network."""
    random = scorer.features(untrained, scorer.tasks)
    features = {
        'raw pixels': {name: pixel_features(scorer.pixels(name)) for name in scorer.tasks},
        'color histogram': {name: color_histograms(scorer.pixels(name)) for name in scorer.tasks},
        'random network': random,
    }
    return [
        Line(title, {name: scorer.knn(name, values) for name, values in tasks.items()}, NOT_LEARNED)
        for title, tasks in features.items()
    ]


def linear_lines(scorer: Scorer, untrained: ResNet, baseline: Path, sdr: SDRResNet,
                 ranking: Mapping[str, RoutingResult]) -> list[Line]:
    """A linear probe on the random network, the baseline, the super-net and the routed sub-nets."""
    networks: dict[str, nn.Module] = {
        'random network': untrained, 'SimSiam baseline': load_resnet(baseline)[0], 'super-net': deepcopy(sdr)
    }
    repeats = range(scorer.recipe.repeats)
    lines = []
    for title, network in networks.items():
        features = scorer.features(network, scorer.tasks)
        scores = {name: [scorer.linear(name, features[name], i) for i in repeats] for name in scorer.tasks}
        lines.append(Line(title, scores, LINEAR))
    routed = {name: routed_subnets(result) for name, result in ranking.items()}
    scores = {name: [0.0] * len(chosen) for name, chosen in routed.items()}
    for subnet in progress(sorted({subnet for chosen in routed.values() for subnet in chosen}), desc='linear probe'):
        names = [name for name, chosen in routed.items() if subnet in chosen]
        for name, values in scorer.features(extract_subnet(sdr, sdr.space.path(subnet)), names).items():
            for i, chosen in enumerate(routed[name]):
                if chosen == subnet:
                    scores[name][i] = scorer.linear(name, values, i)
    return [*lines, Line('routed sub-net', scores, LINEAR)]
