"""What every method of clustering returns, and filling clusters that are too small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .feature_matrix import FeatureMatrix


@dataclass(frozen=True, eq=False)
class Partition:
    """Images divided into clusters: (n,) int64, the cluster of each row over all ranks, and (k, d) float32 centroids.

    ``history`` has an entry per iteration of the method, if it iterates.
    """

    assignment: np.ndarray
    centroids: np.ndarray
    history: Sequence[Any] = ()

    def fill_small(self, features: FeatureMatrix, min_size: int) -> Partition:
        """Fills the clusters below ``min_size`` with their nearest images from clusters above it.

        A training batch must be filled from one cluster, and ``argmax S`` promises no size. A cluster that was below
        takes only what it lacks, and none that was above falls below.

        Raises:
            InputError: If there are too few images for that.
        """
        k = len(self.centroids)
        features.check_number(k, min_size)
        sizes = np.bincount(self.assignment, minlength=k)
        small = np.flatnonzero(sizes < min_size)
        if not len(small):
            return self
        centroids = torch.from_numpy(self.centroids[small]).to(features.device)
        scores = features.gather(torch.cat([chunk @ centroids.T for chunk in features.chunks(len(small))]))
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
