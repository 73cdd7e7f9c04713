"""Successive halving (Jamieson and Talwalkar 2016): poor sub-nets leave after few images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from ..evaluation.knn import unit


@dataclass(frozen=True)
class Rung:
    """One step of halving.

    Args:
        networks (int): How many sub-nets enter.
        images (int): How many labelled images each of them has seen at its end.
    """

    networks: int
    images: int


def rungs(networks: int, images: int, finalists: int, first: int, factor: int = 4, growth: int = 2) -> list[Rung]:
    """The steps from all sub-nets to the finalists.

    Args:
        networks (int): Sub-nets at the start.
        images (int): Labelled images there are; more cannot be seen.
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


def leave_one_out(features: Tensor, labels: np.ndarray, k: int, temperature: float,
                  groups: Optional[np.ndarray] = None) -> float:
    """How well each sample's label is foretold by the others, by kNN.

    Unlike a division into two parts it uses each of few samples for both; and unlike accuracy it takes
    the share of the votes, which differs between networks whose predictions are the same.

    Args:
        features (Tensor): (n, d).
        labels (np.ndarray): (n,) class numbers, or (n, classes) of 0 and 1.
        k (int): Neighbours, clamped to n - 1.
        temperature (float): ``T`` of the weights ``exp(cos / T)``.
        groups (np.ndarray, optional): (n,) samples of one group, which show the same thing, do not vote for
            each other. Defaults to None.

    Returns:
        float: Mean share of the votes that fall to the sample's own label, or labels, in per cent.
    """
    rows = unit(features)
    cosine = rows @ rows.T
    number = torch.from_numpy(np.arange(len(rows)) if groups is None else groups).to(rows.device)
    # Finite, because a sample may have no other group to ask; then its weights are equal.
    cosine.masked_fill_(number == number[:, None], -1e6)
    near, index = cosine.topk(min(k, len(rows) - 1), dim=1)
    weights = (near / temperature).softmax(1)
    target = torch.from_numpy(labels).to(rows.device)
    if target.dim() == 1:
        return 100 * float((weights * (target[index] == target[:, None])).sum(1).mean())
    target = target.double()
    votes = (weights[:, :, None] * target[index]).sum(1)
    labelled = target.sum(1) > 0
    return 100 * float(((votes * target).sum(1) / target.sum(1))[labelled].mean())
