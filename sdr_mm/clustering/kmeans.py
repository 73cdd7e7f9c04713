"""Spherical k-means with faiss, to compare with the paper's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dist import broadcast, is_main_process

from ..errors import InputError
from .partition import Partition
from .rows import Rows

IMAGES_PER_CLUSTER = 256
"""Size of the sample that the centroids are learned from, per cluster; faiss recommends it."""


@dataclass(frozen=True)
class KMeansIteration:
    """One iteration of k-means.

    Args:
        iteration (int): From 0.
        similarity (float): Mean cosine between an image of the sample and its centroid; it rises.
    """

    iteration: int
    similarity: float

    def __str__(self) -> str:
        return f'iteration {self.iteration:3d}  mean cosine {self.similarity:.5f}'


def kmeans_clustering(rows: Rows,
                      k: int,
                      *,
                      iterations: int = 20,
                      min_size: int = 0,
                      seed: int = 0,
                      report: Callable[[KMeansIteration], None] | None = None) -> Partition:
    """Clusters by cosine with faiss.

    The main process learns the centroids from a sample of the images; all ranks assign their own.

    Args:
        rows (Rows): The features.
        k (int): Number of clusters.
        iterations (int): Of k-means. Defaults to 20.
        min_size (int): See :func:`~sdr_mm.clustering.partition.fill_small`. Defaults to 0.
        seed (int): Of the sample and the first centroids. Defaults to 0.
        report (Callable, optional): Called with each :class:`KMeansIteration`, after the last one.

    Returns:
        Partition: Clusters, centroids and the iterations.

    Raises:
        InputError: If there are fewer images than clusters, or no iterations.
    """
    import faiss

    rows.check_number(k)
    if iterations < 1:
        raise InputError(f'k-means needs at least 1 iteration, got {iterations}')
    history: list[KMeansIteration] = []
    centroids = torch.zeros(k, rows.dim, device=rows.device)
    if is_main_process():
        sample = rows.take(rows.sample(k * IMAGES_PER_CLUSTER, seed)).cpu().numpy()
        model = faiss.Kmeans(
            rows.dim, k, niter=iterations, spherical=True, seed=seed, min_points_per_centroid=1,
            max_points_per_centroid=IMAGES_PER_CLUSTER,
            gpu=rows.device.type == 'cuda' and getattr(faiss, 'get_num_gpus', lambda: 0)() > 0)
        model.train(np.ascontiguousarray(sample))
        centroids.copy_(torch.from_numpy(np.asarray(model.centroids).reshape(k, rows.dim)))
        history = [KMeansIteration(i, float(value) / len(sample)) for i, value in enumerate(np.asarray(model.obj))]
        for iteration in history:
            if report is not None:
                report(iteration)
    broadcast(centroids)
    local = torch.cat([(chunk @ centroids.T).argmax(dim=1) for chunk in rows.chunks(k)])
    return Partition(rows.gather(local), centroids.cpu().numpy(), history).fill_small(rows, min_size)
