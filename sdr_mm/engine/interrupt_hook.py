"""Signals to stop: the iteration is finished, the state is saved, and the run says how it continues."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from ..errors import Interrupted
from ..registry import HOOKS
from .checkpoint_hook import WholeCheckpointHook
from .loops import SDRTrainLoop

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Saves a checkpoint and leaves the training with :class:`~sdr_mm.errors.Interrupted` after SIGTERM or SIGINT.

    A second signal ends the process at once. It counts from one second after the first on, because launchers and
    terminals send the same signal to the same process twice.

    Args:
        interval (int): Several ranks, which a signal reaches at different times, agree every so many iterations;
            one rank alone looks after each. Defaults to 5.

    Note:
        A loop that starts a resumed epoch from its first image, as MMEngine's ``EpochBasedTrainLoop`` does, has no
        use for a state in the middle of an epoch. None is saved, and the run resumes from its last checkpoint.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 5) -> None:
        self.interval = interval
        self.received = 0
        self._since = 0.

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notes signals in this block, in the place of whatever else handles them. Only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._process = os.getpid()
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # A process that was forked from this one.
        if not self.received:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > 1:
            signal.signal(number, signal.SIG_DFL)
            os.kill(self._process, number)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Raises Interrupted on all ranks if one of them was told to stop."""
        told = self.received
        if runner.world_size > 1:
            if (runner.iter + 1) % self.interval:
                return
            flag = torch.tensor(told)
            all_reduce(flag, 'max')
            told = int(flag)
        if not told:
            return
        hook = next((hook for hook in runner.hooks if isinstance(hook, WholeCheckpointHook)), None)
        if hook is not None and isinstance(runner.train_loop, (SDRTrainLoop, IterBasedTrainLoop)):
            state = f'the state after iteration {runner.iter + 1} is in {hook.save_interrupted(runner)}'
        else:
            state = f'{type(runner.train_loop).__name__} starts an epoch from its first image, so nothing is saved ' \
                    'in the middle of one: the last checkpoint stays'
        barrier()  # Launchers end the other ranks when the first has left.
        raise Interrupted(f'stopped by {signal.Signals(told).name}, {state}; continue with --resume')


ENDING = RawValue('b', 0)
"""Shared with the workers of loaders: whether this process ends."""


def ignore_signals(*args: Any, ending: Any, then: Callable[..., None] | None = None) -> None:
    """Starts a worker of a loader that is not interested in signals, which a whole process group gets.

    By SIGTERM Python also asks its children to end when it ends itself, and then waits for them; so that one counts
    once ``ending`` says so, which :func:`end_workers` lets it. ``then`` is what else the worker does first.
    """
    parent = os.getppid()

    def end(number: int, frame: FrameType | None) -> None:
        if ending.value or os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    if then is not None:
        then(*args)


def end_workers() -> None:
    """Lets the workers end when this process does."""
    ENDING.value = 1
