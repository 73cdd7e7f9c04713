"""The training loop."""

from __future__ import annotations

from typing import Any

from mmengine.runner import EpochBasedTrainLoop

from ..datasets.sampler import ClusterAwareSampler
from ..errors import InputError
from ..registry import LOOPS


@LOOPS.register_module()
class SDRTrainLoop(EpochBasedTrainLoop):
    """Trains by epochs, and resumes in the middle of an epoch.

    MMEngine's loop starts a resumed epoch from its first batch. This one, of the same arguments, tells the
    :class:`ClusterAwareSampler` the iteration to start at, so that a resumed run sees exactly the batches that an
    uninterrupted one would have seen next, without loading the earlier ones.

    Raises:
        InputError: If the loader has no :class:`ClusterAwareSampler`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.dataloader.batch_sampler, ClusterAwareSampler):
            raise InputError('SDRTrainLoop needs a loader whose order starts anywhere: give train_dataloader '
                             "batch_sampler=dict(type='ClusterAwareSampler')")

    def run_epoch(self) -> None:
        """Runs the iterations of this epoch that were not run yet.

        A checkpoint after the last iteration of an epoch, but before its end, leaves none; the hooks at the end of the
        epoch are still to be called then.
        """
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done < len(self.dataloader):
            self.dataloader.batch_sampler.start(self._iter)
            for index, data_batch in enumerate(self.dataloader, done):
                self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
