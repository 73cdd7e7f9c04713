"""From features to clusters with paths, by any of the methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..clusters import Clusters
from ..errors import InputError
from ..space import SubnetSpace
from .baselines import kmeans_clustering, random_clustering
from .feature_matrix import FeatureMatrix
from .features import Features
from .partition import Partition
from .paths import hierarchical_paths, index_paths
from .sinkhorn import sinkhorn_clustering

METHODS: dict[str, Callable[..., Partition]] = {
    'sinkhorn': sinkhorn_clustering, 'kmeans': kmeans_clustering, 'random': random_clustering}


def build_clusters(features: Features, space: SubnetSpace, *, method: str = 'sinkhorn', paths: str = 'index',
                   min_size: int = 0, center: bool = True, device: str | torch.device = 'cpu',
                   **options: Any) -> Clusters:
    """Divides the images into one cluster per sub-net. All ranks must call.

    Args:
        features (Features): Of the images. Those that could not be decoded belong to no cluster.
        space (SubnetSpace): Its paths; there are as many clusters.
        method (str): ``'sinkhorn'`` (the paper's), ``'kmeans'`` or ``'random'``. Defaults to ``'sinkhorn'``.
        paths (str): ``'index'``, or ``'hierarchical'`` to let similar clusters share a prefix. Defaults to ``'index'``.
        min_size (int): Fill clusters up to this size from larger ones, see
            :meth:`~sdr_mm.clustering.partition.Partition.fill_small`. Defaults to 0.
        center (bool): See :class:`~sdr_mm.clustering.feature_matrix.FeatureMatrix`. Defaults to True.
        device (str | torch.device): Where to compute. Defaults to ``'cpu'``.
        **options: For the method: ``seed``, ``report`` and its own.

    Returns:
        Clusters: Cluster ``i`` has path ``i``, whichever way the paths were given, so that the number of a cluster is
        that of its sub-net.

    Raises:
        InputError: If the features are not finite, there are fewer images than clusters, or an option is out of range.
    """
    if method not in METHODS:
        raise InputError(f'there is no clustering method {method!r}: use one of {", ".join(METHODS)}')
    if paths not in ('index', 'hierarchical'):
        raise InputError(f"paths are given by 'index' or 'hierarchical', got {paths!r}")
    features.check_finite()
    images = features.decodable
    matrix = FeatureMatrix(features.array, images, center=center, device=device)
    matrix.check_number(len(space), min_size)  # before the long work
    partition = METHODS[method](matrix, len(space), **options).fill_small(matrix, min_size)
    assignment = np.full(len(features.names), -1, dtype=np.int64)
    assignment[images] = partition.assignment
    by_path = index_paths(space) if paths == 'index' else hierarchical_paths(
        partition.centroids, space, options.get('seed', 0))
    return Clusters(assignment, partition.centroids, by_path, space.num_groups, features.fingerprint,
                    method).in_path_order()
