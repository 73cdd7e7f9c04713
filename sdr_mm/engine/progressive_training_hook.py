"""Data-aware progressive training: the network space grows from phase to phase (section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.sampler import ClusterAwareSampler
from ..datasets.schedule import PhaseSchedule
from ..distributed import unwrap
from ..errors import InputError
from ..registry import HOOKS
from .loops import SDRTrainLoop


@HOOKS.register_module()
class ProgressiveTrainingHook(Hook):
    """Moves the sampler through the phases.

    Before the training it hands the whole :class:`PhaseSchedule` to the sampler, once, and later it only announces the
    phases in the log. It does not change the sampler when a phase begins: the workers of the loader have drawn some
    batches ahead by then, how many depends on their number, and the order would no longer be a function of (seed,
    iteration).

    Args:
        supernet_prob (float, optional): How often the super-net is drawn once there are sub-nets. Defaults to None,
            uniformly among all networks of the phase (Algorithm 1).
        joint (bool): Whether every iteration trains the super-net, and a sub-net beside it, eq. (3). Defaults to False.
        phase_iters (Sequence[int], optional): First iteration of each phase, starting with 0. Defaults to None, phases
            of equal length.
        phase_epochs (Sequence[int], optional): The same in epochs. Defaults to None.

    Raises:
        InputError: If the options exclude each other. Before the training: if they do not fit the number of blocks, the
            loader, the loop or the model are not made for sub-nets, the sub-nets of the model and those of the clusters
            differ, or a cluster is smaller than a batch.
    """

    priority = 'NORMAL'

    def __init__(self, supernet_prob: float | None = None, joint: bool = False,
                 phase_iters: Sequence[int] | None = None, phase_epochs: Sequence[int] | None = None) -> None:
        if phase_iters is not None and phase_epochs is not None:
            raise InputError('phase_iters and phase_epochs exclude each other: give one of them')
        self.supernet_prob, self.joint = supernet_prob, joint
        self.phase_iters, self.phase_epochs = phase_iters, phase_epochs

    def before_train(self, runner: Runner) -> None:
        """Makes the schedule, checks that everything fits, and hands it to the sampler."""
        sampler = cluster_sampler(runner, type(self).__name__)
        model = unwrap(runner.model)
        space = getattr(getattr(model, 'backbone', None), 'space', None)
        if space is None:
            raise InputError(f'{type(model).__name__} has no sub-nets to train: give it an SDRResNet as backbone')
        if space != sampler.dataset.space:
            raise InputError(f'the network and the clusters do not fit, {_describe(space)} against '
                             f'{_describe(sampler.dataset.space)}: cluster again with --num-groups {space.num_groups} '
                             f'--num-blocks {space.num_blocks}')
        self.schedule = self.make_schedule(runner)
        use_schedule(runner, self.schedule)

        self.phase = self.schedule.phase_at(runner.iter)
        starts = self.schedule.starts
        if starts[-1] >= runner.max_iters:
            runner.logger.warning(f'the last phase would begin at iteration {starts[-1]}, and the training ends at '
                                  f'{runner.max_iters}: not all sub-nets are trained; lower the starts of the phases')
        for phase, (start, stop) in enumerate(zip(starts, [*starts[1:], runner.max_iters])):
            stop = min(stop, runner.max_iters)
            if start < stop:
                runner.logger.info(f'phase {phase}: iterations {start} to {stop - 1}, {self._networks(phase)}')

    def make_schedule(self, runner: Runner) -> PhaseSchedule:
        """The schedule of the options, for the length and the sub-nets of this training."""
        starts = self.phase_iters
        if self.phase_epochs is not None:
            starts = [epoch * len(runner.train_dataloader) for epoch in self.phase_epochs]
        return PhaseSchedule(runner.train_dataloader.dataset.space, runner.max_iters, supernet_prob=self.supernet_prob,
                             joint=self.joint, phase_iters=None if starts is None else tuple(starts))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Announces a phase when it begins."""
        phase = self.schedule.phase_at(runner.iter)
        if phase != self.phase:
            self.phase = phase
            runner.logger.info(f'phase {phase} begins: {self._networks(phase)}')

    def _networks(self, phase: int) -> str:
        count = self.schedule.num_subnets(phase)
        return f'the super-net and {count} sub-net{"s"[:count != 1]}' if count else 'the super-net alone'


def _describe(space: Any) -> str:
    return f'{len(space)} sub-nets ({space.num_groups} groups, {space.num_blocks} blocks)'


def cluster_sampler(runner: Runner, hook: str) -> ClusterAwareSampler:
    """The sampler of the run; an InputError of ``hook`` if its loop has none."""
    if not isinstance(runner.train_loop, SDRTrainLoop):
        raise InputError(f'{hook} cannot drive {type(runner.train_loop).__name__}: give '
                         "train_cfg=dict(type='SDRTrainLoop', max_epochs=...)")
    sampler: ClusterAwareSampler = runner.train_dataloader.batch_sampler
    return sampler


def use_schedule(runner: Runner, schedule: PhaseSchedule) -> None:
    """Lets the sampler draw from ``schedule``; an InputError if a cluster is smaller than a batch."""
    sampler: ClusterAwareSampler = runner.train_dataloader.batch_sampler
    sampler.check()
    # The seed of the run, which a resumed run has just read from its checkpoint. With
    # diff_rank_seed it differs between the ranks, whose sampler must agree.
    seed = [runner.seed]
    broadcast_object_list(seed)
    sampler.seed = seed[0]
    sampler.set_schedule(schedule)
