"""Successive halving (Jamieson and Talwalkar 2016): poor sub-nets are eliminated after few images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from mmengine import dist
from torch import Tensor

from ..distributed import gather, share
from ..errors import InputError
from ..evaluation.knn import unit
from ..evaluation.task import Split
from ..space import Path
from .bn_reset import OWN, BNReset
from .feature_extractor import FeatureExtractor
from .ranking import RankedNetwork
from .scores import Scorer
from .strategies import ShortList, check_screening, screening_bn

STEEPNESS = 8.0
"""Of :func:`soft_accuracy`."""


class Step(NamedTuple):
    """One step of halving: how many sub-nets enter, and how many images each has seen at its end."""

    networks: int
    images: int


def halving_steps(networks: int, images: int, finalists: int, first: int, factor: int = 4,
                  growth: int = 2) -> list[Step]:
    """The steps from ``networks`` sub-nets to the finalists; none if all are finalists.

    The first step has ``first`` of the labeled ``images``, each one ``growth`` times as many as the one before, and
    after each step one of ``factor`` sub-nets stays.
    """
    steps = []
    while networks > finalists:
        steps.append(Step(networks, min(first, images)))
        networks = max(finalists, math.ceil(networks / factor))
        first *= growth
    return steps


@dataclass(frozen=True)
class Halving(ShortList):
    """Sub-nets as a tree on growing parts of the labeled images; after each part a quarter of them stays.

    They are scored by a smoothed kNN accuracy (:func:`soft_accuracy`), whatever the scores of the ranking, with BN
    statistics of the same images; then the finalists exactly. What a sub-net has computed on the images of one step
    it keeps for the next, so no image passes through it twice.

    Args:
        bn (str, optional): Images of the BN statistics, see :class:`Screen`. Defaults to None.
        first_images (int, optional): Images of the first step. Defaults to None: 1/12 of them, at least 768.

    Raises:
        InputError: If an argument is out of range.
    """

    name: ClassVar[str] = 'halving'
    scores_all: ClassVar[bool] = False
    bn: str | None = None
    first_images: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_screening(self.bn)
        if self.first_images is not None and self.first_images < 2:
            raise InputError(f'halving needs first_images >= 2, got {self.first_images}')

    def shorten(self, extractor: FeatureExtractor, scorer: Scorer) -> tuple[list[int], list[RankedNetwork], str]:
        steps, bn, space = self._steps(extractor), self._bn(extractor), extractor.backbone.space
        stay = list(range(len(space)))
        eliminated: list[RankedNetwork] = []
        network_scores = _GrowingScores(extractor, scorer, bn, steps[-1].images)
        for number, step in enumerate(steps):
            scores, source = network_scores.on_first(step.images)
            stay = sorted(scores, key=lambda subnet, scores=scores: (-scores[subnet], subnet))  # type: ignore[misc]
            count = steps[number + 1].networks if number + 1 < len(steps) else self.finalists
            eliminated += [RankedNetwork(f'sub-net {subnet}', subnet, list(space.path(subnet)), source, [],
                                         eliminated=len(steps) - number, screening=scores[subnet])
                           for subnet in stay[count:]]
            stay = stay[:count]
            network_scores.keep(stay)
        numbers = ', '.join(f'{step.networks} on {step.images}' for step in steps)
        return stay, eliminated, (f'sub-nets were halved by soft kNN accuracy on growing parts of the labeled images '
                                  f'({numbers}), with BN statistics of the same images ({bn.mode})')

    def shorten_passes(self, extractor: FeatureExtractor) -> float:
        space, random = extractor.backbone.space, np.random.default_rng(extractor.bn.seed)
        passes, seen, images_of_bn = 0.0, 0, extractor.bn_size(self._bn(extractor))
        for step in self._steps(extractor):
            some = [space.path(index) for index in random.permutation(len(space))[:step.networks]]
            passes += extractor.tree.passes(some, extractor.store.size) * (step.images - seen + images_of_bn)
            seen, images_of_bn = step.images, 0
        return passes

    def _steps(self, extractor: FeatureExtractor) -> list[Step]:
        images = len(extractor.task.labels)
        return halving_steps(len(extractor.backbone.space), images, self.finalists,
                             self.first_images or max(768, images // 12))

    def _bn(self, extractor: FeatureExtractor) -> BNReset:
        # A walk for the statistics costs as much as one for features, so it is kept shorter than the first step.
        bn = screening_bn(extractor.bn, self.bn)
        return replace(bn, num_images=min(bn.num_images, max(256, self._steps(extractor)[0].images // 2)))


class _GrowingScores:
    """Scores of sub-nets on more and more images; each sub-net stays with the rank that has its features."""

    def __init__(self, extractor: FeatureExtractor, scorer: Scorer, bn: BNReset, images: int) -> None:
        self.extractor, self.scorer, self.bn = extractor, scorer, bn
        task = extractor.task
        self.order = (halves(task.labels, task.splits[0], bn.seed) if len(task.splits) == 1 else
                      nested_order(task.labels, bn.seed))
        parts = extractor.tree.parts(extractor.backbone.space.paths, images, dist.get_world_size())
        self.paths = [path for part in share(parts) for path in part]
        self.features: dict[Path, Tensor] = {}
        self.source, self.seen = OWN, 0

    def on_first(self, images: int) -> tuple[dict[int, float], str]:
        """Scores of the sub-nets that are left, of all ranks, on the first ``images`` images, and their BN."""
        space = self.extractor.backbone.space

        def mine() -> dict[int, float]:
            if not self.paths:
                return {}
            if not self.seen:
                self.source = self.extractor.reset_tree(self.bn, self.paths)
            if images > self.seen:
                found = self.extractor.tree_features(self.paths, self.order[self.seen:images])
                for path, features in found.items():
                    known = self.features.get(path)
                    self.features[path] = features if known is None else torch.cat([known, features])
            return {space.index(path): self._score(path) for path in self.paths}

        scores = {subnet: score for part in gather(mine) for subnet, score in part.items()}
        self.seen = images
        return scores, self.source

    def keep(self, subnets: Sequence[int]) -> None:
        """Forgets all sub-nets but these."""
        alive = {self.extractor.backbone.space.path(subnet) for subnet in subnets}
        self.paths = [path for path in self.paths if path in alive]
        self.features = {path: features for path, features in self.features.items() if path in alive}

    def _score(self, path: Path) -> float:
        features, task = self.features[path], self.extractor.task
        if not features.isfinite().all():
            raise InputError(f'sub-net {self.extractor.backbone.space.index(path)}: its features are not finite (NaN '
                             f'or infinite): the network has diverged, take another checkpoint')
        seen = self.order[:len(features)]
        row = np.full(len(task.labels), -1)
        row[seen] = np.arange(len(seen))
        scores = []
        for split in task.splits:
            train, test = (part[row[part] >= 0] for part in (split.train, split.test))
            # Half way, in the geometric mean, between as many neighbors and as far ones as in the end.
            k = max(1, round(self.scorer.neighbors[0] * (len(train) / len(split.train))**0.5))
            scores.append(soft_accuracy(features[row[train]], task.labels[train], features[row[test]],
                                        task.labels[test], k, self.scorer.temperature))
        return float(np.mean(scores))


def nested_order(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A permutation ``(n,)`` of which every beginning holds the classes in about their proportions.

    ``labels`` are ``(n,)`` class numbers, or ``(n, classes)`` of 0 and 1, for which the order is random.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    if labels.ndim > 1:
        return order
    # The i-th of c samples of a class comes about at the share (i + 1/2) / c of the whole.
    share = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        share[members] = (np.arange(len(members)) + random.uniform()) / len(members)
    return np.argsort(share, kind='stable')


def halves(labels: np.ndarray, split: Split, seed: int = 0) -> np.ndarray:
    """An order of the images of a split that alternates between its training and its held-out part.

    So a beginning of it is scored as the whole is, by votes of training images for held-out ones; with as many of
    these as of the others the score varies least. Each part is in :func:`nested_order`; the rest of the larger one
    comes last.
    """
    parts = [part[nested_order(labels[part], seed)] for part in (split.train, split.test)]
    common = min(map(len, parts))
    alternating = np.stack([part[:common] for part in parts], axis=1).reshape(-1)
    return np.concatenate([alternating, *(part[common:] for part in parts)])


def soft_accuracy(train: Tensor, train_labels: np.ndarray, test: Tensor, test_labels: np.ndarray, k: int,
                  temperature: float) -> float:
    """kNN accuracy in which a narrow decision counts in part.

    An image counts ``sigmoid(8 (a - b))``, where ``a`` is the share of its votes that falls to the right label
    and ``b`` the largest share of another one. So it varies less than accuracy on few images; the share of
    right votes alone would too, but it rises with how unequal the votes' weights are, whoever wins.

    Args:
        train (Tensor): (n, d) features.
        train_labels (np.ndarray): (n,) class numbers, or (n, classes) of 0 and 1.
        test (Tensor): (m, d) features.
        test_labels (np.ndarray): Their labels.
        k (int): Neighbors, clamped to n.
        temperature (float): ``T`` of the weights ``exp(cos / T)``.

    Returns:
        float: Mean over the test images, in per cent. Where images have several labels, the share of the votes
        that falls to one of them instead, as a mean over them and the images that have any.
    """
    near, index = (unit(test) @ unit(train).T).topk(min(k, len(train)), dim=1)
    weights = (near / temperature).softmax(1)
    votes, target = (torch.from_numpy(labels).to(train.device) for labels in (train_labels, test_labels))
    if target.dim() == 1:
        classes = int(max(votes.max(), target.max())) + 1
        shares = weights.new_zeros(len(test), classes).scatter_add_(1, votes[index], weights)
        right = shares.gather(1, target[:, None])
        wrong = shares.scatter(1, target[:, None], -1).amax(1, keepdim=True)
        return 100 * float((STEEPNESS * (right - wrong)).sigmoid().mean())
    shares = (weights[:, :, None] * votes.double()[index]).sum(1)
    labeled = target.sum(1) > 0
    return 100 * float(((shares * target).sum(1) / target.sum(1))[labeled].mean())
