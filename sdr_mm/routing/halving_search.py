"""Successive halving of the sub-nets of a session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine import dist
from torch import Tensor

from ..distributed import gather, share
from ..errors import InputError
from ..space import Path
from .bn_source import BNReset
from .halving import Rung, halves, nested_order, soft_accuracy
from .result import RoutingRow
from .scores import Scorer
from .session import Session


class HalvingSearch:
    """Scores sub-nets on growing parts of the labeled images, spread over the ranks.

    What a sub-net has computed on the images of one step it keeps for the next, so no image passes
    through it twice.

    Args:
        session (Session): Images and networks of this rank.
        scorer (Scorer): Its kNN options hold.
        steps (Sequence[Rung]): What :func:`rungs` gave.
        bn (BNReset): Images of the BN statistics, which all sub-nets share.
    """

    def __init__(self, session: Session, scorer: Scorer, steps: Sequence[Rung], bn: BNReset) -> None:
        self.session, self.scorer, self.steps, self.bn = session, scorer, steps, bn
        task = session.task
        self.order = (halves(task.labels, task.splits[0], bn.seed) if len(task.splits) == 1 else
                      nested_order(task.labels, bn.seed))
        self.source = 'own'
        # A sub-net stays with the rank that has its features so far.
        parts = session.tree.parts(session.backbone.space.paths, steps[-1].images, dist.get_world_size())
        self._mine = [path for part in share(parts) for path in part]
        self._features: dict[Path, Tensor] = {}

    def run(self, finalists: int) -> tuple[list[int], list[RoutingRow]]:
        """Runs all steps. All ranks must call.

        Args:
            finalists (int): How many sub-nets stay after the last one.

        Returns:
            tuple: The sub-nets that stay, best first, and rows of those that left.
        """
        space = self.session.backbone.space
        stay = list(range(len(space)))
        left: list[RoutingRow] = []
        for number, rung in enumerate(self.steps):
            seen = self.steps[number - 1].images if number else 0
            scores = self._scores(seen, rung.images)
            ranked = sorted(scores, key=lambda subnet, scores=scores: (-scores[subnet], subnet))  # type: ignore[misc]
            count = self.steps[number + 1].networks if number + 1 < len(self.steps) else finalists
            stay = ranked[:count]
            left += [
                RoutingRow(f'sub-net {subnet}', subnet, list(space.path(subnet)), self.source, [],
                           left=len(self.steps) - number, shortlist=scores[subnet]) for subnet in ranked[count:]
            ]
            alive = {space.path(subnet) for subnet in stay}
            self._mine = [path for path in self._mine if path in alive]
            self._features = {path: features for path, features in self._features.items() if path in alive}
        return stay, left

    def _scores(self, seen: int, images: int) -> dict[int, float]:
        """Scores of the sub-nets that are left, of all ranks, on the first ``images`` images."""
        space = self.session.backbone.space

        def work() -> dict[int, float]:
            if not self._mine:
                return {}
            if not seen:
                self.source = self.session.reset_tree(self.bn, self._mine)
            if images > seen:
                for path, features in self.session.tree_features(self._mine, self.order[seen:images]).items():
                    known = self._features.get(path)
                    self._features[path] = features if known is None else torch.cat([known, features])
            return {space.index(path): self._score(path) for path in self._mine}

        return {subnet: score for part in gather(work) for subnet, score in part.items()}

    def _score(self, path: Path) -> float:
        features, task = self._features[path], self.session.task
        if not features.isfinite().all():
            raise InputError(f'sub-net {self.session.backbone.space.index(path)}: its features are not finite (NaN or '
                             f'infinite): the network has diverged, take another checkpoint')
        seen = self.order[:len(features)]
        place = np.full(len(task.labels), -1)
        place[seen] = np.arange(len(seen))
        scores = []
        for split in task.splits:
            train, test = (part[place[part] >= 0] for part in (split.train, split.test))
            # Half way, in the geometric mean, between as many neighbors and as far ones as in the end.
            k = max(1, round(self.scorer.k[0] * (len(train) / len(split.train))**0.5))
            scores.append(soft_accuracy(features[place[train]], task.labels[train], features[place[test]],
                                        task.labels[test], k, self.scorer.temperature))
        return float(np.mean(scores))
