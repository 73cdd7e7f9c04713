"""What every method of clustering returns, and filling clusters that are too small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce

from ..errors import InputError
from .rows import Rows


@dataclass(frozen=True, eq=False)
class Partition:
    """Rows divided into clusters.

    Args:
        assignment (np.ndarray): (n,) int64, the cluster of each row over all ranks.
        centroids (np.ndarray): (k, d) float32 unit vectors.
        history (Sequence): One entry per iteration of the method, if it iterates.
    """

    assignment: np.ndarray
    centroids: np.ndarray
    history: Sequence[Any] = field(default_factory=list)

    def fill_small(self, rows: Rows, min_size: int) -> Partition:
        """Fills the clusters below ``min_size`` with their nearest rows from clusters above it.

        A training batch must be filled from one cluster, and ``argmax S`` promises no size.

        Args:
            rows (Rows): The features that were clustered.
            min_size (int): Rows that each cluster shall have. 0 changes nothing.

        Returns:
            Partition: With every cluster at ``min_size`` or above; a cluster that was below takes
            only what it lacks, and none that was above falls below.

        Raises:
            InputError: If there are too few rows for that.
        """
        k = len(self.centroids)
        if min_size * k > len(rows):
            raise InputError(
                f'{len(rows)} images cannot fill {k} clusters with {min_size} each: use fewer clusters, smaller '
                f'batches, or a min-size of at most {len(rows) // k}')
        sizes = np.bincount(self.assignment, minlength=k)
        small = np.flatnonzero(sizes < min_size)
        if not len(small):
            return self
        centroids = torch.from_numpy(self.centroids[small]).to(rows.device)
        scores = rows.gather(torch.cat([chunk @ centroids.T for chunk in rows.chunks(len(small))]))
        assignment = self.assignment.copy()
        for column, cluster in enumerate(small):
            for row in np.argsort(-scores[:, column], kind='stable'):
                if sizes[cluster] == min_size:
                    break
                donor = assignment[row]
                if sizes[donor] > min_size:
                    assignment[row] = cluster
                    sizes[donor] -= 1
                    sizes[cluster] += 1
        return replace(self, assignment=assignment)


def mean_centroids(rows: Rows, assignment: np.ndarray, k: int) -> np.ndarray:
    """(k, d) float32 unit vectors: the direction of the mean of each cluster; 0 for an empty one.

    Args:
        rows (Rows): The features.
        assignment (np.ndarray): (n,) int64, the cluster of each row over all ranks.
        k (int): Number of clusters.
    """
    total = torch.zeros(k, rows.dim, dtype=torch.float64, device=rows.device)
    local = torch.from_numpy(assignment[rows.start:rows.stop]).to(rows.device)
    done = 0
    for chunk in rows.chunks():
        total.index_add_(0, local[done:done + len(chunk)], chunk.double())
        done += len(chunk)
    all_reduce(total)
    return torch.nn.functional.normalize(total, dim=1).float().cpu().numpy()
