"""What the paper's clustering is compared with: k-means, and random clusters (SDR-Random of Table 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import all_reduce, broadcast, is_main_process

from ..errors import InputError
from .feature_matrix import FeatureMatrix, Scores
from .partition import Partition

IMAGES_PER_CLUSTER = 256
"""Size of the sample that the centroids are learned from, per cluster; faiss recommends it."""


class KMeansIteration(NamedTuple):
    """An iteration of k-means, and the mean cosine between an image of the sample and its centroid, which rises."""

    iteration: int
    similarity: float

    def __str__(self) -> str:
        return f'iteration {self.iteration:3d}  mean cosine {self.similarity:.5f}'


def kmeans_clustering(features: FeatureMatrix, k: int, *, iterations: int = 20, seed: int = 0,
                      report: Callable[[KMeansIteration], None] | None = None) -> Partition:
    """Clusters by cosine with faiss.

    The main process learns the centroids from a sample of the images; all ranks assign their own. ``seed`` fixes the
    sample and the first centroids. ``report`` is called with each iteration, after the last one.

    Raises:
        InputError: If there are fewer images than clusters, or no iterations.
    """
    import faiss

    features.check_number(k)
    if iterations < 1:
        raise InputError(f'k-means needs at least 1 iteration, got {iterations}')
    history: list[KMeansIteration] = []
    centroids = torch.zeros(k, features.dim, device=features.device)
    if is_main_process():
        sample = features.sample(k * IMAGES_PER_CLUSTER, seed).cpu().numpy()
        model = faiss.Kmeans(
            features.dim, k, niter=iterations, spherical=True, seed=seed, min_points_per_centroid=1,
            max_points_per_centroid=IMAGES_PER_CLUSTER,
            gpu=features.device.type == 'cuda' and getattr(faiss, 'get_num_gpus', lambda: 0)() > 0)
        model.train(np.ascontiguousarray(sample))
        centroids.copy_(torch.from_numpy(np.asarray(model.centroids).reshape(k, features.dim)))
        history = [KMeansIteration(i, float(value) / len(sample)) for i, value in enumerate(np.asarray(model.obj))]
        if report is not None:
            for iteration in history:
                report(iteration)
    broadcast(centroids)
    local = torch.cat([scores.argmax(dim=1) for scores in Scores(features, centroids)])
    return Partition(features.gather(local), centroids.cpu().numpy(), history)


def random_clustering(features: FeatureMatrix, k: int, *, seed: int = 0) -> Partition:
    """Splits the images at random into clusters whose sizes differ by one at most.

    A centroid is the direction of the mean of its cluster.

    Raises:
        InputError: If there are fewer images than clusters.
    """
    features.check_number(k)
    assignment = np.empty(len(features), dtype=np.int64)
    assignment[np.random.default_rng(seed).permutation(len(features))] = np.arange(len(features)) % k
    total = torch.zeros(k, features.dim, dtype=torch.float64, device=features.device)
    local = torch.from_numpy(assignment[features.start:features.stop]).to(features.device)
    done = 0
    for chunk in features.chunks():
        total.index_add_(0, local[done:done + len(chunk)], chunk.double())
        done += len(chunk)
    all_reduce(total)
    return Partition(assignment, torch.nn.functional.normalize(total, dim=1).float().cpu().numpy())
