"""The L2-normalized features that clustering works on, sharded over ranks and read in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object, all_reduce, get_dist_info
from torch import Tensor

from ..errors import InputError

CACHE_BYTES = 2 << 30
"""What a :class:`FeatureMatrix` on a CPU keeps at most, 2 GiB: the scores of two million images and 256 clusters."""


class FeatureMatrix:
    """Unit vectors ``F`` of eq. (2), one row an image; this rank holds a contiguous shard of them.

    Rows are numbered over all ranks. k-means prefers long vectors, and the scale of ``ε`` means nothing, unless the
    features are L2-normalized, so nothing here gives them otherwise.

    Averages of ReLU maps lie in a narrow cone around their mean: all cosines are near 1, their differences far below
    ``ε`` = 0.05, and every posterior comes out uniform. So the mean of the unit vectors is taken away and the rest
    normalized again, unless ``center`` is off.

    Args:
        array (np.ndarray): (m, d) of any float type, memory-mapped if it is large.
        images (np.ndarray, optional): (n,) int64, the images of it to use. Defaults to all.
        center (bool): Whether to take the mean direction away. Defaults to True.
        device (str | torch.device): Where to compute. Defaults to ``'cpu'``.
        chunk_bytes (int): Size of the pieces that are read and computed at a time. Defaults to 64 MiB.
        cache_bytes (int, optional): What may be kept in memory of this shard, and as much again of its scores, instead
            of being read and computed again in each pass. Defaults to :data:`CACHE_BYTES` on the CPU and to a third of
            the free memory of a GPU.

    Raises:
        InputError: If there are no images, or fewer than ranks.
    """

    def __init__(self, array: np.ndarray, images: np.ndarray | None = None, center: bool = True,
                 device: str | torch.device = 'cpu', chunk_bytes: int = 64 << 20,
                 cache_bytes: int | None = None) -> None:
        self.array = array
        self.images = np.arange(len(array)) if images is None else images
        self.device = torch.device(device)
        self.dim = array.shape[1]
        if cache_bytes is None:
            cache_bytes = torch.cuda.mem_get_info(self.device)[0] // 3 if self.device.type == 'cuda' else CACHE_BYTES
        self.chunk_bytes, self.cache_bytes = chunk_bytes, cache_bytes
        rank, world = get_dist_info()
        if not len(self):
            raise InputError('there are no features to cluster: extract them from a folder with images')
        if world > len(self):
            raise InputError(f'{len(self)} images cannot be shared by {world} processes: start fewer')
        self.start, self.stop = len(self) * rank // world, len(self) * (rank + 1) // world
        self.num_local = self.stop - self.start
        self.mean: Tensor | None = None
        self._cache: Tensor | None = None
        if center:
            total = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
            for chunk in self.chunks():
                total += chunk.sum(dim=0, dtype=torch.float64)
            all_reduce(total)
            self.mean = (total / len(self)).float()
        if self.num_local * self.dim * 4 <= cache_bytes:
            self._cache = _stack(self.chunks(), torch.empty(self.num_local, self.dim, device=self.device))

    def __len__(self) -> int:
        """Number of rows over all ranks, ``n``."""
        return len(self.images)

    def check_number(self, k: int, min_size: int = 0) -> None:
        """Raises an InputError if the images cannot make ``k`` clusters of ``min_size`` each."""
        if not 1 <= k <= len(self):
            raise InputError(
                f'{k} clusters cannot be made of {len(self)} images: use fewer groups or blocks, or more images')
        if min_size * k > len(self):
            raise InputError(f'{len(self)} images cannot fill {k} clusters with {min_size} each: use fewer clusters, '
                             f'smaller batches, or a min-size of at most {len(self) // k}')

    def take(self, index: np.ndarray) -> Tensor:
        """(len(index), d) float32 on the device: the unit vectors of any rows, of any shard."""
        if self._cache is not None and (not len(index) or (index.min() >= self.start and index.max() < self.stop)):
            return self._cache[torch.from_numpy(index - self.start).to(self.device)]
        block = np.asarray(self.array[self.images[index]])
        unit = F.normalize(torch.from_numpy(block).to(self.device).float(), dim=1)
        return unit if self.mean is None else F.normalize(unit - self.mean, dim=1)

    def sample(self, count: int, seed: int) -> Tensor:
        """(min(count, n), d) float32: distinct rows drawn at random, the same on all ranks."""
        return self.take(np.random.default_rng(seed).permutation(len(self))[:count])

    def chunk_rows(self, width: int) -> int:
        """Rows to go through at a time by who computes ``width`` numbers per row."""
        return max(1, int(self.chunk_bytes // (8 * max(width, self.dim))))

    def chunks(self, width: int = 1) -> Iterator[Tensor]:
        """This rank's rows in order, (c, d) float32 at a time; the caller computes ``width`` numbers per row."""
        step = self.chunk_rows(width)
        if self._cache is not None:
            yield from self._cache.split(step)
            return
        for start in range(self.start, self.stop, step):
            yield self.take(np.arange(start, min(start + step, self.stop)))

    def gather(self, local: Tensor) -> np.ndarray:
        """(n, …): what each rank computed for its rows, joined in the order of the rows."""
        return np.concatenate(all_gather_object(local.cpu().numpy()))


class Scores:
    """``S = FᵀC`` of eq. (2): this rank's rows of the scores of all images with (k, d) unit vectors.

    Going through it gives (c, k) float32 chunks in the order of the rows, as often as wanted. They are kept if they fit
    into the ``cache_bytes`` of the features, and computed again in each pass otherwise.
    """

    def __init__(self, features: FeatureMatrix, centroids: Tensor) -> None:
        self.features = features
        shape = features.num_local, len(centroids)
        fits = math.prod(shape) * 4 <= features.cache_bytes
        self._kept = torch.empty(shape, device=features.device) if fits else None
        self.update(centroids)

    def update(self, centroids: Tensor) -> None:
        """Takes other centroids in the place of these, in the same memory."""
        self.centroids = centroids.clone()  # the caller may go on with its own
        if self._kept is not None:
            _stack(self._products(), self._kept)

    def __iter__(self) -> Iterator[Tensor]:
        if self._kept is not None:
            return iter(self._kept.split(self.features.chunk_rows(len(self.centroids))))
        return self._products()

    def take(self, index: np.ndarray) -> Tensor:
        """(len(index), k) float32: the scores of rows of this rank's shard."""
        if self._kept is None:
            return self.features.take(index) @ self.centroids.T
        return self._kept[torch.from_numpy(index - self.features.start).to(self.features.device)]

    def _products(self) -> Iterator[Tensor]:
        return (chunk @ self.centroids.T for chunk in self.features.chunks(len(self.centroids)))


def _stack(chunks: Iterator[Tensor], whole: Tensor) -> Tensor:
    """Fills the rows of ``whole``, in the memory of a chunk."""
    done = 0
    for chunk in chunks:
        whole[done:done + len(chunk)] = chunk
        done += len(chunk)
    return whole
