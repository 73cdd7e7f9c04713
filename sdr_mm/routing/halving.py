"""Successive halving (Jamieson and Talwalkar 2016): poor sub-nets leave after few images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..evaluation.knn import unit
from ..evaluation.task import Split

STEEPNESS = 8.0
"""Of :func:`soft_accuracy`."""


@dataclass(frozen=True)
class Rung:
    """One step of halving.

    Args:
        networks (int): How many sub-nets enter.
        images (int): How many labeled images each of them has seen at its end.
    """

    networks: int
    images: int


def rungs(networks: int, images: int, finalists: int, first: int, factor: int = 4, growth: int = 2) -> list[Rung]:
    """The steps from all sub-nets to the finalists.

    Args:
        networks (int): Sub-nets at the start.
        images (int): Labeled images there are; more cannot be seen.
        finalists (int): Sub-nets at the end.
        first (int): Images of the first step.
        factor (int): After each step one of so many sub-nets stays. Defaults to 4.
        growth (int): Each step has so many times the images of the one before. Defaults to 2.

    Returns:
        list[Rung]: With fewer networks each; empty if all are finalists.
    """
    steps = []
    while networks > finalists:
        steps.append(Rung(networks, min(first, images)))
        networks = max(finalists, math.ceil(networks / factor))
        first *= growth
    return steps


def nested_order(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """An order of samples of which every beginning holds the classes in about their proportions.

    Args:
        labels (np.ndarray): (n,) class numbers, or (n, classes) of 0 and 1, for which the order is random.
        seed (int): Defaults to 0.

    Returns:
        np.ndarray: (n,) a permutation.
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
    these as of the others the score varies least. What is left of the larger part comes last.

    Args:
        labels (np.ndarray): Labels of all images of the task.
        split (Split): Its ``train`` and ``test``.
        seed (int): Defaults to 0.

    Returns:
        np.ndarray: (n,) numbers of images, each part in :func:`nested_order`.
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
