"""Which images of a cluster are nearest to a task, and which of the task to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets.pool import Pool
from ..errors import InputError
from ..evaluation.features import pooled_features
from ..evaluation.task import Task
from ..images import IMAGENET, ImageSource, ImageStore, Normalization
from ..models.backbone import SDRBackbone
from .label_free import choose_members

MEMBERS, IMAGES, CENTER = 256, 1000, 512
"""Most images that are looked at: of a cluster, of the task, and of all clusters together for the center."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """A cluster and a task side by side.

    Args:
        cluster (int): Its number.
        members (np.ndarray): Numbers of images of the cluster in the pool, the nearest to the task first.
        images (np.ndarray): Numbers of images of the task, the nearest to the cluster first.
    """

    cluster: int
    members: np.ndarray
    images: np.ndarray


def nearest_images(backbone: SDRBackbone, pool: Pool, task: Task, clusters: Sequence[int], *,
                   normalization: Normalization = IMAGENET, resize: int = 256, size: int = 224, seed: int = 0,
                   workers: int = 2) -> list[Nearest]:
    """Compares clusters with the images of a task.

    An image is the nearer to a set of images, the higher the mean of its cosines to them. The features are those of
    the super-net as it is, centered at the mean over the clusters, because averages of ReLU maps lie in a narrow cone,
    as in a label-free search. Of large sets :data:`MEMBERS` or :data:`IMAGES` are drawn, and images that cannot be
    decoded are passed over.

    Args:
        backbone (SDRBackbone): The SDRNet; it runs on its device, and is not changed.
        pool (Pool): Images of pre-training and their clusters.
        task (Task): The task, without images that may not be looked at.
        clusters (Sequence[int]): Numbers of clusters.
        normalization (Normalization): Of the input. Defaults to ImageNet's.
        resize (int): Short side of the images in pixels. Defaults to 256.
        size (int): Side of the center crop in pixels. Defaults to 224.
        seed (int): Of the draw. Defaults to 0.
        workers (int): Threads that decode. Defaults to 2.

    Raises:
        InputError: If no image of the task or of a cluster can be decoded, or features are not finite.
    """
    assert pool.clusters is not None
    of = pool.clusters

    def draw(numbers: np.ndarray, most: int, *key: int) -> np.ndarray:
        return np.sort(np.random.default_rng([seed, *key]).permutation(numbers)[:most])

    def directions(paths: Sequence[ImageSource], numbers: np.ndarray, what: str) -> tuple[Tensor, np.ndarray]:
        store = ImageStore([paths[number] for number in numbers.tolist()], resize=resize, size=size, on_error='skip',
                           workers=workers)
        readable = store.read_all(f'reading {what}')
        if not len(readable):
            raise InputError(f'none of {len(numbers)} images of {what} can be decoded: replace the damaged images')
        device = next(backbone.parameters()).device
        found = pooled_features(backbone, store.batches(readable, 200, device=device, **normalization._asdict()))
        if not found.isfinite().all():
            raise InputError(f'features of the images of {what} are not finite (NaN or infinite): the super-net has '
                             f'diverged, take another checkpoint')
        return found.double(), numbers[readable]

    center, _ = choose_members(of, max(1, CENTER // of.num_clusters), seed)
    shown = {cluster: draw(np.flatnonzero(of.assignment == cluster), MEMBERS, cluster) for cluster in clusters}
    members, numbers = directions(pool.paths, np.union1d(center, np.concatenate(list(shown.values()))), 'the clusters')
    images, drawn = directions(task.paths, draw(np.arange(len(task.paths)), IMAGES), task.name)
    # Damaged images may have left none of those for the center.
    middle = members[_at(np.isin(numbers, center) | ~np.isin(numbers, center).any())].mean(0)
    members, images = (torch.nn.functional.normalize(features - middle, dim=1) for features in (members, images))
    found = []
    for cluster, its in shown.items():
        here = np.isin(numbers, its)
        if not here.any():
            raise InputError(f'none of {len(its)} images of cluster {cluster} can be decoded: replace the damaged '
                             'images')
        rows = members[_at(here)]
        found.append(Nearest(cluster, numbers[here][_order(rows, images)], drawn[_order(images, rows)]))
    return found


def _at(chosen: np.ndarray) -> Any:
    return torch.from_numpy(np.flatnonzero(chosen))


def _order(rows: Tensor, others: Tensor) -> np.ndarray:
    """Numbers of unit vectors ``rows`` by falling mean cosine to ``others``; of equal ones the first comes first."""
    return (rows @ others.mean(0)).argsort(descending=True, stable=True).cpu().numpy()
