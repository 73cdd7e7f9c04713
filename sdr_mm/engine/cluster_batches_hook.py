"""One network that trains on batches of one cluster at a time."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.schedule import PhaseSchedule
from ..errors import InputError
from ..registry import HOOKS
from .progressive_training_hook import cluster_sampler, use_schedule


@HOOKS.register_module()
class ClusterBatchesHook(Hook):
    """Draws all images of a batch from one cluster, whatever network trains on them; each cluster is as likely.

    The images that a contrastive loss tells apart, and those that batch normalization sees together, are then alike.
    It is what a sub-net of SDR gets beside weights of its own, so a single network trained like this is the control
    that tells how much of a gain is the sub-nets'. For a plain model, whose data set is a :class:`ClusterDataset` with
    clusters; it takes the place of :class:`ProgressiveTrainingHook`, and with the same seed, clusters and options draws
    the same batches.

    Args:
        supernet_prob (float, optional): Share of batches of all images, which SDR gives to the super-net. None: as many
            as by the phases of Algorithm 1, and at the same time. Defaults to 0.0.

    Raises:
        InputError: If the share is no probability. Before the training: if the loop or the data set is not made for
            clusters, or a cluster is smaller than a batch.
    """

    priority = 'NORMAL'

    def __init__(self, supernet_prob: float | None = 0.0) -> None:
        if supernet_prob is not None and not 0 <= supernet_prob <= 1:
            raise InputError(f'supernet_prob of ClusterBatchesHook is a probability from 0 to 1, got {supernet_prob}')
        self.supernet_prob = supernet_prob

    def before_train(self, runner: Runner) -> None:
        space = cluster_sampler(runner, type(self).__name__).dataset.space
        if len(space) == 1:
            raise InputError('ClusterBatchesHook has one cluster to draw from: give train_dataloader.dataset.clusters, '
                             'for example by --clusters')
        every_cluster = None if self.supernet_prob is None else (0, ) * (space.num_blocks + 1)
        use_schedule(runner, PhaseSchedule(space, runner.max_iters, supernet_prob=self.supernet_prob,
                                           phase_iters=every_cluster))
