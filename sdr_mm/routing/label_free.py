"""Routing without labels: whose cluster do the images of the task look like?

A sub-net was trained on one semantic cluster of the pre-training images, so a task whose images
resemble that cluster is likely to suit it (section 5.2 of the paper finds that the best sub-net for
Aircraft was trained on flying things). One pass of the super-net over the task's images and over some
images of each cluster is enough, whatever the number of sub-nets.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..clusters import Clusters
from ..errors import InputError


def choose_members(clusters: Clusters, per_cluster: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Some images of each cluster.

    Args:
        clusters (Clusters): No cluster may be empty.
        per_cluster (int): Most images of each.
        seed (int): Defaults to 0.

    Returns:
        tuple: (n,) numbers of images, ascending within a cluster, and (n,) the cluster of each.
    """
    chosen = []
    for cluster in range(clusters.num_clusters):
        members = np.flatnonzero(clusters.assignment == cluster)
        chosen.append(np.sort(np.random.default_rng([seed, cluster]).permutation(members)[:per_cluster]))
    return np.concatenate(chosen), np.repeat(np.arange(len(chosen)), [len(members) for members in chosen])


def cluster_shares(task: Tensor, members: Tensor, cluster: np.ndarray, temperature: float = 0.1) -> Tensor:
    """How much of a task falls to each cluster.

    Features are centered at the mean of the members, because averages of ReLU maps lie in a narrow cone,
    and scaled to length 1. A cluster's centroid is the mean direction of its members.

    Args:
        task (Tensor): (n, d) features of the task's images.
        members (Tensor): (m, d) features of images of the clusters, by the same network.
        cluster (np.ndarray): (m,) the cluster of each.
        temperature (float): Of the softmax over the cosines to the centroids. Defaults to 0.1.

    Returns:
        Tensor: (clusters,) float64, the mean over the task's images of the posterior of each cluster;
        the sum is 1.

    Raises:
        InputError: If features are not finite.
    """
    for name, features in (('task', task), ('clusters', members)):
        if not features.isfinite().all():
            raise InputError(f'features of the images of the {name} are not finite (NaN or infinite): the super-net '
                             f'has diverged, take another checkpoint')
    center = members.double().mean(0)
    rows, images = ((features.double() - center) for features in (members, task))
    rows, images = (features / features.norm(dim=1, keepdim=True).clamp(min=1e-12) for features in (rows, images))
    index = torch.from_numpy(cluster).to(rows.device)
    centroids = torch.zeros(int(cluster.max()) + 1, rows.shape[1], dtype=torch.float64, device=rows.device)
    centroids.index_add_(0, index, rows)
    centroids /= centroids.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (images @ centroids.T / temperature).softmax(1).mean(0)
