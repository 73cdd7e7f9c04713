"""The result of clustering, ``clusters.npz``: which image belongs to which sub-net."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .cluster_order import ClusterOrder, count
from .errors import InputError
from .files import atomic_write
from .space import SubnetSpace
from .stored_array import Chunks, StoredArray, write_npz
from .zip_files import open_zip, read_member

FORMAT = 'sdr_mm clusters 1'


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters ``D_1 … D_k`` of a data set and the path of each (section 4.2 of the paper).

    Args:
        assignment (np.ndarray): (n,) int64, the cluster of each image, 0 to k - 1; -1 for an image that belongs to none
            (it could not be decoded).
        centroids (np.ndarray): (k, d) float32, the unit vectors ``C`` of eq. (2).
        paths (np.ndarray): (k, num_blocks) int64, the path of each cluster. Each path of the space occurs exactly once.
        num_groups (int): Individual groups per block.
        fingerprint (str): Of the image list, see :func:`~sdr_mm.images.fingerprint`.
        method (str): How the clusters were made, for example ``'sinkhorn'``.

    Raises:
        InputError: If the arrays do not fit together or the centroids are not finite.
    """

    assignment: np.ndarray
    centroids: np.ndarray
    paths: np.ndarray
    num_groups: int
    fingerprint: str
    method: str

    def __post_init__(self) -> None:
        self._convert('assignment', np.int64, 1)
        self._check_paths()
        self._check_range(self.assignment)

    def _convert(self, name: str, dtype: type, ndim: int) -> None:
        array = np.asarray(vars(self)[name])
        whole = np.issubdtype(array.dtype, np.integer)
        if array.ndim != ndim or not (whole or (dtype == np.float32 and np.issubdtype(array.dtype, np.floating))):
            raise InputError(f'{name} of the clusters must have {ndim} dimension(s) of type '
                             f'{np.dtype(dtype).name}, got {array.ndim} of {array.dtype}: cluster again')
        vars(self)[name] = array.astype(dtype, copy=False)

    def _check_paths(self) -> None:
        """Checks all but the images."""
        self._convert('centroids', np.float32, 2)
        self._convert('paths', np.int64, 2)
        groups = np.asarray(self.num_groups)
        if groups.ndim or not np.issubdtype(groups.dtype, np.integer):
            raise InputError(f'num_groups of the clusters must be one whole number, got {groups.shape} of '
                             f'{groups.dtype}: cluster again')
        vars(self)['num_groups'] = int(self.num_groups)
        if not np.isfinite(self.centroids).all():
            raise InputError('the centroids of the clusters are not finite (NaN or infinity): cluster again')
        space = self.space
        if not len(self.paths) == len(self.centroids) == len(space):
            raise InputError(
                f'{len(self.centroids)} clusters with {len(self.paths)} paths do not fit {len(space)} sub-nets '
                f'({space.num_groups} groups, {space.num_blocks} blocks): cluster again with the right number')
        if {tuple(path) for path in self.paths.tolist()} != set(space.paths):
            raise InputError('the paths of the clusters are not each path of the space once: cluster again')

    def _check_range(self, assignment: np.ndarray) -> None:
        if assignment.size and not -1 <= assignment.min() <= assignment.max() < self.num_clusters:
            raise InputError(f'the assignment has values from {assignment.min()} to {assignment.max()}, but '
                             f'there are {self.num_clusters} clusters (and -1 for none): cluster again')

    @property
    def num_images(self) -> int:
        """Length of the image list, images of no cluster included."""
        return len(self.assignment)

    @property
    def space(self) -> SubnetSpace:
        """The space that the paths run through."""
        return SubnetSpace(self.num_groups, self.paths.shape[1])

    @property
    def num_clusters(self) -> int:
        """``k``, the number of clusters and of sub-nets."""
        return len(self.centroids)

    @property
    def subnets(self) -> np.ndarray:
        """(k,) int64, the sub-net of each cluster: the index of its path in the space."""
        return np.array([self.space.index(path) for path in self.paths.tolist()], dtype=np.int64)

    def sizes(self) -> np.ndarray:
        """(k,) int64, images in each cluster."""
        return count(self.assignment, self.num_clusters)

    @cached_property
    def order(self) -> ClusterOrder:
        """The images sorted by the sub-net that they belong to."""
        return ClusterOrder.of(self.assignment, self.subnets)

    def in_path_order(self) -> Clusters:
        """The same clusters, numbered so that cluster ``i`` has path ``i`` of the space."""
        number = self.subnets
        order = np.argsort(number)
        assignment = np.where(self.assignment < 0, -1, number[self.assignment])
        return Clusters(assignment, self.centroids[order], self.paths[order], self.num_groups, self.fingerprint,
                        self.method)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Writes the clusters as ``.npz``, whole or not at all.

        The assignment is written in the smallest type, and beside it :attr:`order`, so that a training need not sort.
        That takes 4 bytes an image in memory, 8 from 2³² images on.

        Raises:
            InputError: If the file exists and ``overwrite`` is off, or the disk is full.
        """
        images = self.order.images
        assert isinstance(images, np.ndarray)
        with atomic_write(path, overwrite=overwrite) as temporary, open(temporary, 'wb') as file:
            write_clusters(file, self, Chunks.of(self.assignment, np.min_scalar_type(-self.num_clusters)),
                           Chunks.of(images, images.dtype), self.sizes())

    @classmethod
    def load(cls, path: str | Path) -> Clusters:
        """Reads what :meth:`save` wrote, all of it. Nothing in the file is executed.

        Raises:
            InputError: If the file is missing or something else.
        """
        return cls._read(path, whole=True)

    @classmethod
    def open(cls, path: str | Path) -> Clusters:
        """As :meth:`load`, but the images stay in the file, and as many of them are read as are asked for.

        What cannot be checked at once is checked where it is used, see :meth:`ClusterOrder.take`. A file of an earlier
        version has no order of the images, and is loaded.

        Raises:
            InputError: If the file is missing or something else.
        """
        return cls._read(path, whole=False)

    @classmethod
    def _read(cls, path: str | Path, whole: bool) -> Clusters:
        path = Path(path)
        advice = 'give the clusters.npz that tools/cluster.py wrote'
        if not path.is_file():
            raise InputError(f'there is no file {path}: {advice}')
        try:
            with open(path, 'rb') as file, open_zip(file) as archive:
                kind = str(_array(read_member(archive, 'format.npy')))
                if kind != FORMAT:
                    raise InputError(f'{path} is of the format {kind[:40]!r}, not {FORMAT!r}: {advice}')
                whole = whole or 'order.npy' not in archive.namelist()
                data = {name: _array(read_member(archive, f'{name}.npy')) for name in (
                    'assignment' if whole else 'sizes', 'centroids', 'paths', 'num_groups', 'fingerprint', 'method')}
                digest, method = str(data['fingerprint']), str(data['method'])
                if not re.fullmatch('[0-9a-f]{64}', digest) or not re.fullmatch(r'[\w -]{1,40}', method):
                    raise InputError(f'{path} names no image list by its fingerprint, or no method: {advice}')
                rest = data['centroids'], data['paths'], data['num_groups'].item(), digest, method
                if whole:
                    return Clusters(data['assignment'], *rest)
                assignment, order = (StoredArray(file, archive, name) for name in ('assignment', 'order'))
                return StoredClusters(assignment, order, data['sizes'], *rest)
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f'{path}: {error}') from error
        except PermissionError as error:
            raise InputError(f'{path} cannot be read ({error.strerror}): make it readable') from error
        except Exception as error:  # A header of arbitrary bytes may raise anything.
            raise InputError(f'{path} does not hold clusters or is damaged: {advice}') from error

    def check_images(self, fingerprint: str, num_images: int, where: str) -> None:
        """Refuses clusters of another image list than the one with this fingerprint and number of images.

        Args:
            fingerprint (str): See :func:`~sdr_mm.images.fingerprint`.
            num_images (int): Length of the list.
            where (str): The file of the clusters or the data set, for the message, as in all checks.

        Raises:
            InputError: If the fingerprints differ, or not each image has an assignment.
        """
        if fingerprint != self.fingerprint:
            raise InputError(f'{where}: the clusters were made from another image list (fingerprint '
                             f'{self.fingerprint[:12]}, this list has {fingerprint[:12]}): extract features of this '
                             'data set and cluster again')
        if num_images != self.num_images:
            raise InputError(f'{where}: {self.num_images} images are assigned to clusters, but the list has '
                             f'{num_images}: cluster again')

    def check_space(self, space: SubnetSpace, where: str) -> None:
        """Raises an InputError if the network in use has another space: another number of sub-nets, or other paths."""
        if space != self.space:
            raise InputError(
                f'{where}: {self.num_clusters} clusters ({self.space.num_groups} groups, {self.space.num_blocks} '
                f'blocks) for {len(space)} sub-nets ({space.num_groups} groups, {space.num_blocks} blocks): cluster '
                f'again with --num-groups {space.num_groups} --num-blocks {space.num_blocks}')

    def check_sizes(self, minimum: int, where: str) -> None:
        """Raises an InputError if a cluster is empty or has fewer than ``minimum`` images, the batch over all ranks."""
        check_sizes(self.sizes(), minimum, where)


class StoredClusters(Clusters):
    """Clusters whose images are in the file, see :meth:`Clusters.open`.

    Args:
        stored (StoredArray): The assignment.
        images (StoredArray): The images sorted by the sub-net that they belong to.
        sizes (np.ndarray): (k,) images in each cluster.
        centroids, paths, num_groups, fingerprint, method: As of :class:`Clusters`.

    Raises:
        InputError: If the parts do not fit together.
    """

    _stored: StoredArray
    _sizes: np.ndarray

    def __init__(self, stored: StoredArray, images: StoredArray, sizes: np.ndarray, centroids: np.ndarray,
                 paths: np.ndarray, num_groups: int, fingerprint: str, method: str) -> None:
        vars(self).update(centroids=centroids, paths=paths, num_groups=num_groups, fingerprint=fingerprint,
                          method=method, _stored=stored, _sizes=sizes)
        self._check_paths()
        self._convert('_sizes', np.int64, 1)
        sizes, subnets = self._sizes, self.subnets
        # Sums of Python, which do not overflow.
        if len(sizes) != len(subnets) or sizes.min() < 0 or not sum(sizes.tolist()) == images.size <= stored.size:
            raise InputError(f'{len(sizes)} sizes of the clusters, with {sum(sizes.tolist())} images together, do not '
                             f'fit {len(subnets)} clusters with {images.size} of {stored.size} images: cluster again')
        offsets = np.concatenate([[0], np.cumsum(sizes[np.argsort(subnets)])])
        vars(self)['order'] = ClusterOrder(images, offsets, subnets, stored)

    @property
    def num_images(self) -> int:
        """Length of the image list, images of no cluster included."""
        return self._stored.size

    @cached_property
    def assignment(self) -> np.ndarray:
        """(n,) int64, the cluster of each image, read and checked as a whole."""
        assignment = self._stored.read_all().astype(np.int64)
        self._check_range(assignment)
        if not np.array_equal(count(assignment, self.num_clusters), self.sizes()):
            raise InputError('the assignment and the sizes of the clusters differ: cluster again')
        return assignment

    def sizes(self) -> np.ndarray:
        """(k,) int64, images in each cluster."""
        return self._sizes


def write_clusters(file: BinaryIO, clusters: Clusters, assignment: Chunks, order: Chunks, sizes: np.ndarray) -> None:
    """Writes ``clusters`` with images that need not be in memory; what :meth:`Clusters.save` stands on.

    ``assignment``, ``order`` and ``sizes`` are as a :class:`StoredClusters` has them, and must fit together.
    """
    packed = dict(format=FORMAT, centroids=clusters.centroids, paths=clusters.paths, num_groups=clusters.num_groups,
                  fingerprint=clusters.fingerprint, method=clusters.method, sizes=sizes)
    write_npz(file, {name: np.asarray(value) for name, value in packed.items()},
              dict(assignment=assignment, order=order))


def _array(data: bytes) -> np.ndarray:
    """The array of a ``.npy`` file; a ValueError if there is something else, or anything after it."""
    file = io.BytesIO(data)
    array = np.load(file, allow_pickle=False)
    if not isinstance(array, np.ndarray) or file.read(1):
        raise ValueError('there is more than one array')
    return array


def check_sizes(sizes: np.ndarray, minimum: int, where: str) -> None:
    """As :meth:`Clusters.check_sizes`, of clusters of which only the sizes are known."""
    smallest = int(sizes.argmin())
    if sizes[smallest] == 0:
        raise InputError(f'{where}: cluster {smallest} is empty ({int((sizes == 0).sum())} of {sizes.size} are): '
                         'use fewer clusters or give tools/cluster.py --min-size')
    if sizes[smallest] < minimum:
        images = int(sizes.sum())
        advice = (f'use smaller batches or fewer clusters, or give tools/cluster.py --min-size {minimum}'
                  if images >= minimum * sizes.size else
                  f'{images} images cannot fill {sizes.size} of them, use batches of at most {images // sizes.size} '
                  'over all ranks, or fewer clusters')
        raise InputError(
            f'{where}: cluster {smallest} has {sizes[smallest]} images, fewer than a batch of {minimum} over all ranks '
            f'({int((sizes < minimum).sum())} of {sizes.size} are too small): {advice}')
