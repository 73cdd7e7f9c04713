"""The images of all clusters in one row, in which the sampler looks up the places of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .space import SUPERNET
from .stored_array import CHUNK, StoredArray


@dataclass(frozen=True, eq=False)
class ClusterOrder:
    """The images that are in a cluster, sorted by its sub-net and then by their number.

    Args:
        images (np.ndarray | StoredArray): (m,) unsigned, numbers in the image list: in memory, or in the file.
        offsets (np.ndarray): (k + 1,) int64; sub-net ``i`` has ``images[offsets[i]:offsets[i + 1]]``.
        subnets (np.ndarray): (k,) int64, the sub-net of each cluster.
        assignment (StoredArray, optional): The clusters of all images, if the row comes from a file. It is too long to
            be checked at once, so each number is compared with this when it is used. Defaults to None: the row was made
            from the assignment and needs no check.
    """

    images: np.ndarray | StoredArray
    offsets: np.ndarray
    subnets: np.ndarray
    assignment: StoredArray | None = None

    @classmethod
    def of(cls, assignment: np.ndarray, subnets: np.ndarray) -> ClusterOrder:
        """Sorts the (n,) clusters of the images; beside them it takes the memory of the (m,) result only."""
        k = len(subnets)
        # The one behind the last is that of images in no cluster, as -1 is its index too.
        number = np.append(subnets, SUPERNET).astype(np.min_scalar_type(-k - 1))
        sizes = np.zeros(k, dtype=np.int64)
        sizes[subnets] = count(assignment, k)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        images = np.empty(offsets[-1], dtype=np.min_scalar_type(max(0, len(assignment) - 1)))
        free = offsets[:-1].copy()
        for start in range(0, len(assignment), CHUNK):
            owner = number[assignment[start:start + CHUNK]]
            none, *counts = np.bincount(owner.astype(np.int64) + 1, minlength=k + 1)
            found = np.argsort(owner, kind='stable')[none:]
            first = np.cumsum(counts) - counts  # of each sub-net in this chunk
            images[np.arange(found.size) + np.repeat(free - first, counts)] = start + found
            free += counts
        return cls(images, offsets, subnets)

    def size(self, network: int) -> int:
        """Images of ``network``, a sub-net, or of all clusters for ``SUPERNET``."""
        first, stop = self._range(network)
        return stop - first

    def take(self, network: int, places: np.ndarray) -> np.ndarray:
        """(n,) int64: the images at the (n,) places, from 0 on, among those of ``network``.

        Raises:
            InputError: If what the file has there is no image of that cluster, or not in ascending order.
        """
        places = places + self._range(network)[0]
        if self.assignment is None:
            assert isinstance(self.images, np.ndarray)
            return np.asarray(self.images[places], np.int64)
        return self._take_checked(places, self.assignment)

    def _take_checked(self, places: np.ndarray, assignment: StoredArray) -> np.ndarray:
        """Each number is one of its cluster, and between its neighbors; over a pass nothing else is possible then.

        A cluster with as many places as images, all of them its own and in ascending order, has each image once.
        """
        assert isinstance(self.images, StoredArray)
        if not places.size:
            return np.empty(0, dtype=np.int64)
        width = min(3, self.images.size)
        starts = np.clip(places - 1, 0, self.images.size - width)
        near = self.images.rows(starts, width)
        owner = np.searchsorted(self.offsets, starts[:, None] + np.arange(width), side='right') - 1
        here = np.arange(len(places)), places - starts
        found, owner_here = near[here], owner[here]
        inside = (found >= 0) & (found < assignment.size)
        falling = (near[:, 1:] <= near[:, :-1]) & (owner[:, 1:] == owner[:, :-1])
        clusters = assignment.rows(np.where(inside, found, 0).astype(np.int64))[:, 0]
        right = inside & ~falling.any(axis=1) & (clusters == np.argsort(self.subnets)[owner_here])
        if not right.all():
            wrong = int(np.argmin(right))
            raise InputError(
                f'{self.images.path} is damaged: for sub-net {owner_here[wrong]} it lists images '
                f'{", ".join(map(str, near[wrong]))} around place {places[wrong]}, which do not fit the clusters of '
                f'its {assignment.size} images: cluster again')
        return np.asarray(found, np.int64)

    def chunks(self, network: int) -> Iterator[np.ndarray]:
        """The images of ``network``, int64, some at a time; those of a file as they are, not checked as in a batch."""
        first, last = self._range(network)
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            part = self.images[start:stop] if isinstance(self.images, np.ndarray) else self.images.read(start, stop)
            yield part.astype(np.int64)

    def _range(self, network: int) -> tuple[int, int]:
        return (0, int(self.offsets[-1])) if network == SUPERNET else (
            int(self.offsets[network]), int(self.offsets[network + 1]))


def count(assignment: np.ndarray, k: int) -> np.ndarray:
    """(k,) int64: images in each of ``k`` clusters, those of none (-1) left out; in chunks, for memory's sake."""
    sizes = np.zeros(k + 1, dtype=np.int64)
    for start in range(0, len(assignment), CHUNK):
        sizes += np.bincount(assignment[start:start + CHUNK] + 1, minlength=k + 1)
    return sizes[1:]
