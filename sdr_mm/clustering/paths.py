"""Which cluster gets which path: by its number, or so that similar clusters share a prefix."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import InputError
from ..space import SubnetSpace


def index_paths(space: SubnetSpace) -> np.ndarray:
    """(k, num_blocks) int64: cluster ``i`` gets path ``i``, the default."""
    return np.array(space.paths, dtype=np.int64).reshape(len(space), space.num_blocks)


def hierarchical_paths(centroids: np.ndarray, space: SubnetSpace, seed: int = 0) -> np.ndarray:
    """Gives similar clusters paths with a common prefix, and so more weights in common.

    The clusters are divided into ``num_groups`` equal parts by balanced k-means on their centroids; each part takes one
    group in the first block, and is divided in the same way for the next.

    The (k, d) centroids give (k, num_blocks) int64, in which each path occurs once; ``seed`` is that of the k-means.

    Raises:
        InputError: If there are not as many clusters as paths.
    """
    if len(centroids) != len(space):
        raise InputError(f'{len(centroids)} clusters for {len(space)} paths: use one cluster per path')
    points = np.asarray(centroids, dtype=np.float64)
    paths = np.zeros((len(space), space.num_blocks), dtype=np.int64)
    parts = [np.arange(len(space))]
    for block in range(space.num_blocks):
        smaller = []
        for part in parts:
            group = balanced_kmeans(points[part], space.num_groups, seed)
            paths[part, block] = group
            smaller += [part[group == g] for g in range(space.num_groups)]
        parts = smaller
    return paths


def balanced_kmeans(points: np.ndarray, num_parts: int, seed: int = 0, restarts: int = 8,
                    max_iterations: int = 50) -> np.ndarray:
    """k-means whose parts are equal in size: each assignment is an exact optimal matching.

    Divides (m, d) points, of which ``num_parts`` divides m, into (m,) int64: part 0 holds the first point, part 1 the
    first point outside it, …. The best of ``restarts`` runs counts.
    """
    m = len(points)
    assert m % num_parts == 0, f'{m} points in {num_parts} equal parts'
    generator = np.random.default_rng(seed)
    best, best_cost = np.zeros(m, dtype=np.int64), np.inf
    for _ in range(restarts):
        means = points[_spread(points, num_parts, generator)]
        part = np.full(m, -1)
        for _ in range(max_iterations):
            distance = ((points[:, None] - means) ** 2).sum(axis=2)
            _, seats = linear_sum_assignment(np.repeat(distance, m // num_parts, axis=1))
            previous, part = part, seats // (m // num_parts)
            if (part == previous).all():
                break
            means = np.stack([points[part == p].mean(axis=0) for p in range(num_parts)])
        cost = ((points - means[part]) ** 2).sum()
        if cost < best_cost - 1e-12:
            best, best_cost = part, cost
    _, first = np.unique(best, return_index=True)
    return np.argsort(np.argsort(first))[best]


def _spread(points: np.ndarray, count: int, generator: np.random.Generator) -> list[int]:
    """A point at random, then each time the one that is farthest from those before."""
    chosen = [int(generator.integers(len(points)))]
    while len(chosen) < count:
        distance = ((points[:, None] - points[chosen]) ** 2).sum(axis=2).min(axis=1)
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return chosen
