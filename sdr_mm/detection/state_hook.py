"""Saving the state of a training, whole or not at all."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..files import atomic_write
from ..registry import HOOKS
from .divergence import Diverged, is_finite


@HOOKS.register_module()
class StateHook(Hook):
    """Keeps the last state of a training in one file, which a kill at any moment leaves whole.

    MMEngine's own hook writes a file for each time, in place, so that a kill may cut it short.

    Args:
        file (str): A checkpoint, with optimizer and schedules, that ``resume`` takes.
        every (int): Iterations between two saves.
        stop (int): Iteration at which it saves in any case.

    Raises:
        Diverged: Instead of a state whose weights are not finite.
    """

    priority = 'VERY_LOW'

    def __init__(self, file: str, every: int, stop: int) -> None:
        self.file, self.every, self.stop = file, every, stop

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        iteration = runner.iter + 1
        if iteration % self.every and iteration != self.stop:
            return
        if not is_finite(runner.model):
            raise Diverged(f'weights are not finite at iteration {iteration}')
        with atomic_write(self.file, overwrite=True) as temporary:
            runner.save_checkpoint(str(temporary.parent), temporary.name, by_epoch=False)
