"""The order of the images: which network trains on which of them in which iteration, on which rank."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from ..permutation import hash64, permute
from ..registry import DATA_SAMPLERS
from ..space import SUPERNET
from .cluster_dataset import ClusterDataset
from .schedule import PhaseSchedule

Triple = tuple[int, int, int]

# The hashes of different things come from different streams.
_PASS, _IMAGE = 1, 2
# Iterations whose networks are drawn at once, which bounds the memory.
_CHUNK = 1 << 12


@DATA_SAMPLERS.register_module()
class ClusterAwareSampler(Sampler[list[Triple]]):
    """Batch sampler that gives each iteration a network and a batch of its images.

    The images of a network form an endless stream of passes: each pass is a shuffle of all images that belong to it,
    and each batch for the network, over all ranks, is the next ``batch_size * world_size`` images of the stream. Rank
    ``r`` takes the ``r``-th part of it. So no image comes twice in a pass, on whatever rank, and the batches of the
    ranks joined are the batch that a single process would have had.

    The order is a pure function of (seed, iteration). Nothing but the number of the next iteration is remembered:
    shuffles are evaluated at the places of the batch only, and how often a network was drawn before is counted from the
    schedule. Hence a run starts anywhere at once, on any number of workers, and memory does not grow with the number of
    images.

    In a config this is the ``batch_sampler`` of the loader, beside any ``sampler``, whose data set and seed it takes::

        train_dataloader = dict(
            batch_size=64,
            drop_last=False,  # PyTorch wants it so beside a batch sampler
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_sampler=dict(type='ClusterAwareSampler'),
            dataset=dict(type='ClusterDataset', ...))

    Args:
        sampler (DefaultSampler): Has the :class:`ClusterDataset` as ``dataset`` and the ``seed``, the same on all
            ranks.
        batch_size (int): Images of one batch on one rank.
        rank (int, optional): Number of the process. Defaults to None, that of this one.
        world_size (int, optional): Number of ranks. Defaults to None, that of the running job.

    Note:
        :class:`ProgressiveTrainingHook` gives it the schedule; until then all batches are for the super-net.
        :class:`SDRTrainLoop` tells it where to start.
    """

    def __init__(self, sampler: DefaultSampler, batch_size: int, rank: int | None = None,
                 world_size: int | None = None) -> None:
        assert batch_size >= 1, f'a batch has at least one image, got batch_size={batch_size}'
        self.sampler = sampler
        self.dataset: ClusterDataset = sampler.dataset
        self.seed: int = sampler.seed
        self.batch_size = batch_size
        this_rank, ranks = get_dist_info()
        self.rank = this_rank if rank is None else rank
        self.world_size = ranks if world_size is None else world_size
        self.schedule = PhaseSchedule(self.dataset.space, num_iters=1, supernet_prob=1)
        self.iteration = 0

    @property
    def total_batch_size(self) -> int:
        """Images of one network's batch over all ranks."""
        return self.batch_size * self.world_size

    def set_schedule(self, schedule: PhaseSchedule) -> None:
        """Draws the networks from ``schedule`` from now on, in a loader that iterates already too late."""
        self.schedule = schedule

    def start(self, iteration: int) -> None:
        """Starts the next loop over the batches at ``iteration``, counted from the start of the training."""
        self.iteration = iteration

    def set_epoch(self, epoch: int) -> None:
        """Starts the next loop over the batches at the beginning of ``epoch``."""
        self.start(epoch * len(self))

    def check(self) -> None:
        """Raises an InputError if a cluster is smaller than a batch over all ranks."""
        self.dataset.check_sizes(self.total_batch_size)

    def __len__(self) -> int:
        """Iterations of an epoch, as many as the super-net takes for one pass over the whole data set."""
        return max(1, self.dataset.size(SUPERNET) // self.total_batch_size)

    def __iter__(self) -> Iterator[list[Triple]]:
        """Yields the batches of this rank from the start to the end of its epoch.

        Yields:
            list[tuple[int, int, int]]: (image, network, seed) of each image. In a joint iteration the images for the
            super-net come first, then those for the sub-net.
        """
        start, schedule = self.iteration, self.schedule
        stop = (start // len(self) + 1) * len(self)
        drawn = self._count_draws(start)
        for first in range(start, stop, _CHUNK):
            for iteration, network in enumerate(schedule.networks(self.seed, first, min(first + _CHUNK, stop)), first):
                batch = self._batch(SUPERNET, iteration) if schedule.joint else []
                if network != SUPERNET or not schedule.joint:
                    batch += self._batch(int(network), int(drawn[network - SUPERNET]))
                    drawn[network - SUPERNET] += 1
                yield batch

    def _count_draws(self, stop: int) -> np.ndarray:
        """How often each network, the super-net first, is drawn before the iteration ``stop``."""
        counts = np.zeros(len(self.dataset.space) + 1, dtype=np.int64)
        for first in range(0, stop, _CHUNK):
            networks = self.schedule.networks(self.seed, first, min(first + _CHUNK, stop))
            counts += np.bincount(networks - SUPERNET, minlength=counts.size)
        return counts

    def _batch(self, network: int, number: int) -> list[Triple]:
        """The part of this rank in batch ``number`` of a network's stream."""
        size = self.dataset.size(network)
        first = number * self.total_batch_size + self.rank * self.batch_size
        stream = np.arange(first, first + self.batch_size)
        passes, positions = np.divmod(stream, size)
        for number in np.unique(passes):
            places = passes == number
            key = int(hash64(_PASS, self.seed, network, int(number)))
            positions[places] = permute(positions[places], size, key)
        # A bit less, so that the seeds fit signed 64-bit integers.
        seeds = hash64(_IMAGE, self.seed, network, stream) >> np.uint64(1)
        return list(zip(self.dataset.take(network, positions).tolist(), [network] * self.batch_size, seeds.tolist()))
