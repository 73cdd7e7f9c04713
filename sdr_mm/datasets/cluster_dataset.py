"""A data set that knows which images each network trains on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from ..cluster_order import ClusterOrder
from ..clusters import Clusters, check_sizes
from ..errors import InputError
from ..images import fingerprint, image_names
from ..permutation import hash64
from ..registry import DATASETS
from ..space import SUPERNET, SubnetSpace
from ..stored_array import CHUNK

MAX_TRIES = 100
"""Images tried in place of one that cannot be decoded before the data set gives up."""

Index = int | tuple[int, int, int]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block with the generators of Python, NumPy and torch (CPU) seeded, and restores them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        # torch.manual_seed would reset the generators of the GPUs as well.
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@DATASETS.register_module()
class ClusterDataset(Dataset[dict[str, Any]]):
    """Wraps a data set of images and its clusters: ``D_0`` for the super-net, ``D_i`` for sub-net ``i``.

    An index is a triple (image, network, seed) from :class:`ClusterAwareSampler`. The transforms run on generators
    seeded with ``seed``, so that an augmented image is a function of the triple alone, whichever worker makes it. The
    packed data sample gets meta information: ``network``, the network that the image was drawn for, the ``seed``, and
    ``skipped``, how many images were tried before it that could not be decoded. A plain integer draws an image for the
    super-net from the generators as they are, and leaves no ``seed``.

    Args:
        dataset (dict | BaseDataset): The data set of images, of any class of MMPretrain or ours, or its config. Its
            pipeline ends with ``PackInputs``.
        clusters (str | Clusters, optional): ``clusters.npz`` of the same image list, or its content. Cluster ``c``
            belongs to the sub-net on ``clusters.paths[c]``. Of a file as many images are read as are drawn, each
            checked then; of its content, or a file of an earlier version, one integer per image is kept. Defaults to
            None: there is one network only, which trains on all images.
        share_images (bool): Whether each sub-net trains on the images of all clusters, in an order of its own: SDR-IN
            in table 3 of the paper, a control in which sub-nets have nothing to specialize in. Defaults to False.
        lazy_init (bool): Whether to leave reading the list and the clusters to :meth:`full_init`. Defaults to False.

    Raises:
        InputError: If the clusters were made from another image list, or a cluster is empty.
    """

    def __init__(self, dataset: dict[str, Any] | BaseDataset, clusters: str | Clusters | None = None,
                 share_images: bool = False, lazy_init: bool = False) -> None:
        self.dataset: BaseDataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.clusters, self.share_images = clusters, share_images
        self._order: ClusterOrder | None = None  # Without clusters a network has all images as they come.
        self._read = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Reads the image list and the clusters and checks that they fit, unless this was done."""
        if self._read:
            return
        self.dataset.full_init()
        self._read = True
        clusters, self._where = self.clusters, 'the clusters'
        if clusters is None:
            self._space, self._subnets = SubnetSpace(num_groups=1, num_blocks=0), np.zeros(1, dtype=np.int64)
            return
        if not isinstance(clusters, Clusters):
            clusters, self._where = Clusters.open(clusters), str(clusters)
        names = image_names(self.dataset)
        clusters.check_images(fingerprint(names), len(names), self._where)
        clusters.check_sizes(1, self._where)
        self._space, self._subnets = clusters.space, clusters.subnets
        self._order = clusters.order
        self.clusters = None

    @property
    def space(self) -> SubnetSpace:
        """The space of the sub-nets that the clusters belong to."""
        self.full_init()
        return self._space

    @property
    def metainfo(self) -> dict[str, Any]:
        """Meta information of the wrapped data set."""
        metainfo: dict[str, Any] = self.dataset.metainfo
        return metainfo

    def size(self, network: int) -> int:
        """How many images ``network``, ``SUPERNET`` or a sub-net, trains on.

        The super-net trains on the images of all clusters, without the ones that are in none.
        """
        self.full_init()
        if self._order is None:
            return len(self.dataset) if network == SUPERNET else 0
        return self._order.size(self._list_of(network))

    def take(self, network: int, places: np.ndarray) -> np.ndarray:
        """(n,) int64: the images at the (n,) places, from 0 on, among those that ``network`` trains on.

        Raises:
            InputError: If the file of the clusters is found to be damaged there, or was changed since.
        """
        self.full_init()
        return places if self._order is None else self._order.take(self._list_of(network), places)

    def chunks(self, network: int) -> Iterator[np.ndarray]:
        """All images that ``network`` trains on, int64, some at a time; what a file has is not checked here."""
        self.full_init()
        if self._order is not None:
            return self._order.chunks(self._list_of(network))
        size = self.size(network)
        return (np.arange(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))

    def members(self, network: int) -> np.ndarray:
        """All images that ``network`` trains on as one array, see :meth:`chunks`."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.chunks(network)])

    def _list_of(self, network: int) -> int:
        return SUPERNET if self.share_images else network

    def check_sizes(self, minimum: int) -> None:
        """Raises an InputError if a network has fewer than ``minimum`` images, the batch size over all ranks."""
        self.full_init()
        check_sizes(np.array([self.size(int(subnet)) for subnet in self._subnets]), minimum, self._where)

    def __len__(self) -> int:
        """All images, those that are in no cluster included."""
        return len(self.dataset)

    def __getitem__(self, index: Index) -> dict[str, Any]:
        """What the pipeline packs, ``inputs`` and ``data_samples``, of (image, network, seed) or of an image.

        Raises:
            InputError: If nothing can be decoded or the pipeline does not end with ``PackInputs``.
        """
        self.full_init()
        if isinstance(index, tuple):
            image, network, seed = index
            with seeded(seed):
                data = self._draw(image, network, seed)
            data['data_samples'].set_metainfo(dict(seed=seed))
            return data
        return self._draw(index, SUPERNET, index)

    def _draw(self, image: int, network: int, seed: int) -> dict[str, Any]:
        # BaseDataset.__getitem__ would replace an undecodable image by one of any cluster.
        prepare = getattr(self.dataset, 'prepare_data', self.dataset.__getitem__)
        for skipped in range(MAX_TRIES + 1):
            data = prepare(image)
            if data is None:
                # Another image of the same network, and the same one in every run.
                image = int(self.take(network, np.array([int(hash64(seed, skipped)) % self.size(network)]))[0])
                continue
            if not isinstance(data, dict) or 'data_samples' not in data:
                raise InputError(
                    f'the pipeline of {type(self.dataset).__name__} gives no data_samples: end it with PackInputs')
            data['data_samples'].set_metainfo(dict(network=network, skipped=skipped))
            return data
        raise InputError(f'{MAX_TRIES + 1} images in a row cannot be decoded, the last one is number {image} of the '
                         "data set: look at the files, or pass on_error='stop' to see the reason")
