"""Routing without labels: whose cluster do the images of the task look like?

A sub-net was trained on one semantic cluster of the pre-training images, so a task whose images
resemble that cluster is likely to suit it (section 5.2 of the paper finds that the best sub-net for
Aircraft was trained on flying things). One pass of the super-net over the task's images and over some
images of each cluster is enough, whatever the number of sub-nets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from mmengine import dist
from torch import Tensor

from ..clusters import Clusters
from ..distributed import gather
from ..errors import InputError
from .bn_reset import OWN
from .feature_extractor import FeatureExtractor
from .ranking import RankedNetwork
from .scores import Scorer
from .strategies import ShortList, shortlisted


@dataclass(frozen=True)
class LabelFree(ShortList):
    """Sub-nets ordered by the share of the task's images that resembles their cluster.

    Then the finalists exactly, if the task has labels.

    Args:
        per_cluster (int): Images of each cluster. Defaults to 32.

    Raises:
        InputError: If it is less than 1.
    """

    name: ClassVar[str] = 'label_free'
    scores_all: ClassVar[bool] = False
    needs_clusters: ClassVar[bool] = True
    per_cluster: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_cluster < 1:
            raise InputError(f'a label-free search needs per_cluster >= 1, got {self.per_cluster}')

    def shorten(self, extractor: FeatureExtractor, scorer: Scorer) -> tuple[list[int], list[RankedNetwork], str]:
        space = extractor.backbone.space
        everyone = [RankedNetwork(f'sub-net {subnet}', subnet, list(space.path(subnet)), OWN, [], eliminated=1,
                                  screening=part) for subnet, part in sorted(self.shares(extractor).items())]
        best, others = shortlisted(everyone, self.finalists)
        return (best, others if extractor.task.classes else everyone,
                f'sub-nets were ordered by the share of the images that resembles their cluster '
                f'({self.per_cluster} images of each, one pass of the super-net, no labels)')

    def shorten_passes(self, extractor: FeatureExtractor) -> float:
        pool = extractor.bn_images.pool
        assert pool is not None and pool.clusters is not None
        return float(pool.clusters.sizes().clip(max=self.per_cluster).sum() + len(extractor.readable))

    def shares(self, extractor: FeatureExtractor) -> dict[int, float]:
        """The share of the task's images that falls to each sub-net's cluster, by one pass of the super-net."""
        pool, store = extractor.bn_images.pool, extractor.bn_images.pool_store
        assert pool is not None and pool.clusters is not None and store is not None
        clusters = pool.clusters

        def mine() -> list[float] | None:
            if dist.get_rank():
                return None
            network = extractor.supernet()
            chosen, cluster = choose_members(clusters, self.per_cluster, extractor.bn.seed)
            readable = np.isin(chosen, store.read_all('reading images of the clusters', chosen))
            chosen, cluster = chosen[readable], cluster[readable]
            missing = sorted(set(range(clusters.num_clusters)) - set(cluster.tolist()))
            if missing:
                raise InputError(f'no readable image of cluster {missing[0]} is among the {self.per_cluster} that were '
                                 f'chosen: replace the damaged images of pre-training')
            members = extractor.network_features(network, store, chosen)
            images = extractor.network_features(network, extractor.store, extractor.readable)
            return cluster_shares(images, members, cluster).tolist()

        shares = gather(mine)[0]
        assert shares is not None
        return {int(subnet): part for subnet, part in zip(clusters.subnets, shares)}


def choose_members(clusters: Clusters, per_cluster: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """At most ``per_cluster`` images of each cluster: ``(n,)`` numbers, ascending within one, and their clusters."""
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
    shares: Tensor = (images @ centroids.T / temperature).softmax(1).mean(0)
    return shares
