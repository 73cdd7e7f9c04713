"""Scores of frozen features for a task, by which sub-nets are ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..evaluation.h_score import h_score
from ..evaluation.knn import knn_predict
from ..evaluation.linear import linear_probe
from ..evaluation.logme import logme
from ..evaluation.metrics import METRICS
from ..evaluation.task import Task
from ..evaluation.transrate import transrate

TRANSFERABILITY: dict[str, Callable[[Tensor, Any], float]] = dict(logme=logme, h_score=h_score, transrate=transrate)
SCORES = ('knn', *TRANSFERABILITY)
LINEAR = 'linear'

Scores = dict[str, list[float]]
"""For each score, in the order asked for, one number a split."""


@dataclass(frozen=True)
class Scorer:
    """Scores features of a task's images; the more the better.

    kNN votes from the training part of a split for the part that routing may look at
    (:meth:`Split.choosing`); the transferability scores need the training part alone.

    Args:
        names (Sequence[str]): Of :data:`SCORES`. The first one ranks. Defaults to ('knn', ).
        k (Sequence[int]): Numbers of neighbors, each clamped to the training size. The first one ranks.
            Defaults to (200, ).
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        metric (str, optional): One of :data:`METRICS`. Defaults to None, the task's.

    Raises:
        InputError: If a name is unknown, or one is there twice.
    """

    names: Sequence[str] = ('knn', )
    k: Sequence[int] = (200, )
    temperature: float = 0.07
    metric: str | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in SCORES]
        if unknown or not self.names or len(set(self.names)) < len(self.names):
            raise InputError(f'scores of routing are {", ".join(SCORES)}, each at most once, got '
                             f'{" ".join(self.names) or "none"}')
        if self.metric is not None and self.metric not in METRICS:
            raise InputError(f'the metric of routing is one of {", ".join(METRICS)}, got {self.metric!r}')
        if not self.k or min(self.k) < 1 or len(set(self.k)) < len(self.k):
            raise InputError(f'the k of kNN are different numbers of at least 1, got {tuple(self.k)}')

    @property
    def columns(self) -> list[str]:
        """Names of the scores as tables and files have them; the first one ranks."""
        columns: list[str] = []
        for name in self.names:
            columns += [f'knn k={k}' for k in self.k] if name == 'knn' else [name]
        return columns

    def __call__(self, features: Tensor, task: Task) -> Scores:
        """Scores ``features`` ``(n, d)`` of all images of ``task``.

        Raises:
            InputError: If they are not finite, or a score cannot be had for this task.
        """
        scores: Scores = {column: [] for column in self.columns}
        metric = METRICS[self.metric or task.metric]
        for split in task.splits:
            train, held_out = (torch.from_numpy(part).to(features.device) for part in split.choosing())
            labels, held_out_labels = (task.labels[part] for part in split.choosing())
            for name in self.names:
                if name == 'knn':
                    votes = knn_predict(features[train], labels, features[held_out], k=self.k,
                                        temperature=self.temperature, num_classes=len(task.classes))
                    for k, vote in votes.items():
                        scores[f'knn k={k}'].append(metric(vote, held_out_labels))
                else:
                    scores[name].append(TRANSFERABILITY[name](features[train], labels))
        return scores

    def linear(self, features: Tensor, task: Task) -> list[float]:
        """Linear accuracy by the many-shot protocol, for each split: what a score should foretell."""
        metric = self.metric or task.metric
        return [
            linear_probe(features, task.labels, split, metric=metric, num_classes=len(task.classes),
                         groups=task.groups).score for split in task.splits
        ]
