"""Which images give a network its BN statistics in a ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .load_sdr import Pool

BN_RESETS = ('cluster', 'task', 'all', 'none')


@dataclass(frozen=True)
class BNReset:
    """Which images give a network its BN statistics.

    Images are prepared as for the features, because the statistics are to describe the input that the
    network will see.

    Args:
        mode (str): ``'cluster'``: a sub-net's on its cluster, any other network's on the whole pool;
            ``'all'``: everyone's on the whole pool; ``'task'``: on the training images of the task,
            without their labels; ``'none'``: a sub-net keeps its slice of the super-net's statistics.
            Defaults to 'cluster'.
        num_images (int): Most images. Defaults to 2000.
        batch_size (int): Images in a batch. Defaults to 200.
        seed (int): Chooses the images. Defaults to 0.

    Raises:
        InputError: If an argument is out of range.
    """

    mode: str = 'cluster'
    num_images: int = 2000
    batch_size: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in BN_RESETS:
            raise InputError(f'BN reset is one of {", ".join(BN_RESETS)}, got {self.mode!r}')
        if self.num_images < 2 or self.batch_size < 2:
            raise InputError(f'BN reset needs at least 2 images and batches of at least 2, got {self.num_images} and '
                             f'{self.batch_size}')

    @property
    def shared(self) -> bool:
        """Whether all sub-nets have their statistics from the same images, so that prefixes can be shared."""
        return self.mode != 'cluster'

    def images(self, subnet: int | None, pool: Pool | None,
               task_images: np.ndarray | None) -> tuple[str, np.ndarray]:
        """Chooses the images of one network.

        Args:
            subnet (int, optional): Index of the sub-net; None for any other network.
            pool (Pool, optional): For ``'cluster'`` and ``'all'``.
            task_images (np.ndarray, optional): For ``'task'``: numbers of the images to choose from.

        Returns:
            tuple: What they are, for tables, and their numbers, in random order.
        """
        stream = 0
        if self.mode == 'task':
            assert task_images is not None
            name, choice = 'task', task_images
        elif self.mode == 'cluster' and subnet is not None:
            assert pool is not None and pool.clusters is not None
            # Clusters have paths, and by default, but not always, cluster i has path i.
            cluster = int(np.flatnonzero(pool.clusters.subnets == subnet)[0])
            name, stream = f'cluster {cluster}', cluster + 1
            choice = np.flatnonzero(pool.clusters.assignment == cluster)
        else:
            assert pool is not None
            name, choice = 'pool', np.arange(len(pool.paths))
        random = np.random.default_rng([self.seed, stream])
        return name, random.permutation(choice)[:self.num_images]
