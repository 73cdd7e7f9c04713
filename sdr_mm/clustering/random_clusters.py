"""Random clusters, the control of Table 3 (SDR-Random)."""

from __future__ import annotations

import numpy as np

from .partition import Partition, mean_centroids
from .rows import Rows


def random_clustering(rows: Rows, k: int, *, min_size: int = 0, seed: int = 0) -> Partition:
    """Splits the images at random into clusters whose sizes differ by one at most.

    Args:
        rows (Rows): The features; only the centroids look at them.
        k (int): Number of clusters.
        min_size (int): See :func:`~sdr_mm.clustering.partition.fill_small`. Defaults to 0.
        seed (int): Of the split. Defaults to 0.

    Returns:
        Partition: Clusters, and the direction of the mean of each as its centroid.

    Raises:
        InputError: If there are fewer images than clusters.
    """
    rows.check_number(k)
    assignment = np.empty(len(rows), dtype=np.int64)
    assignment[np.random.default_rng(seed).permutation(len(rows))] = np.arange(len(rows)) % k
    return Partition(assignment, mean_centroids(rows, assignment, k)).fill_small(rows, min_size)
