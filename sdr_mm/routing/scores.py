"""Scores of frozen features for a task, by which networks are ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, naming
from ..evaluation.knn import knn_predict
from ..evaluation.linear import linear_probe
from ..evaluation.metrics import METRICS
from ..evaluation.task import Task
from ..evaluation.transferability import h_score, logme, transrate
from .ranking import LINEAR, RankedNetwork

TRANSFERABILITY: dict[str, Callable[[Tensor, Any], float]] = dict(logme=logme, h_score=h_score, transrate=transrate)
SCORES = ('knn', *TRANSFERABILITY)


@dataclass(frozen=True)
class Scorer:
    """Scores features of a task's images; the more the better.

    kNN votes from the training part of a split for the part that routing may look at
    (:meth:`Split.choosing`); the transferability scores need the training part alone.

    Args:
        names (Sequence[str]): Of :data:`SCORES`. The first one ranks. Defaults to ('knn', ).
        k (int | Sequence[int]): Numbers of neighbors, each clamped to the training size. The first one ranks.
            Defaults to 200.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        metric (str, optional): One of :data:`METRICS`. Defaults to None, the task's.
        linear (bool): Whether to measure linear accuracy too, by the many-shot protocol: what a score should
            predict. Defaults to False.

    Raises:
        InputError: If a name is unknown, or one is there twice.
    """

    names: Sequence[str] = ('knn', )
    k: int | Sequence[int] = 200
    temperature: float = 0.07
    metric: str | None = None
    linear: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in SCORES]
        if unknown or not self.names or len(set(self.names)) < len(self.names):
            raise InputError(f'scores of routing are {", ".join(SCORES)}, each at most once, got '
                             f'{" ".join(self.names) or "none"}')
        if not self.neighbors or min(self.neighbors) < 1:
            raise InputError(f'the k of routing are numbers of at least 1, got {self.k}')
        if self.metric is not None and self.metric not in METRICS:
            raise InputError(f'the metric of routing is one of {", ".join(METRICS)}, got {self.metric!r}')

    @property
    def neighbors(self) -> tuple[int, ...]:
        """``k`` as a tuple."""
        return (self.k, ) if isinstance(self.k, int) else tuple(self.k)

    @property
    def columns(self) -> list[str]:
        """Names of the scores as tables and files have them; the first one ranks."""
        columns: list[str] = []
        for name in self.names:
            columns += [f'knn k={k}' for k in self.neighbors] if name == 'knn' else [name]
        return columns + [LINEAR] * self.linear

    def __call__(self, features: Tensor, task: Task) -> dict[str, list[float]]:
        """Scores ``features`` ``(n, d)`` of all images of ``task``: for each of :attr:`columns` one number a split.

        Raises:
            InputError: If they are not finite, or a score cannot be had for this task.
        """
        scores: dict[str, list[float]] = {column: [] for column in self.columns}
        metric = self.metric or task.metric
        for split in task.splits:
            train, held_out = (torch.from_numpy(part).to(features.device) for part in split.choosing())
            labels, held_out_labels = (task.labels[part] for part in split.choosing())
            for name in self.names:
                if name != 'knn':
                    scores[name].append(TRANSFERABILITY[name](features[train], labels))
                    continue
                votes = knn_predict(features[train], labels, features[held_out], k=self.neighbors,
                                    temperature=self.temperature, num_classes=len(task.classes))
                for k, vote in votes.items():
                    scores[f'knn k={k}'].append(METRICS[metric](vote, held_out_labels))
            if self.linear:
                scores[LINEAR].append(linear_probe(features, task.labels, split, metric=metric,
                                                   num_classes=len(task.classes), groups=task.groups).score)
        return scores

    def rank(self, name: str, features: Tensor, task: Task, bn: str, subnet: int | None = None,
             path: Sequence[int] | None = None) -> RankedNetwork:
        """A network with the scores of its ``features``; for the other arguments see :class:`RankedNetwork`.

        Raises:
            InputError: As the call, naming the network.
        """
        with naming(name):
            first, *others = self(features, task).items()
        return RankedNetwork(name, subnet, None if path is None else list(path), bn, first[1], dict(others))
