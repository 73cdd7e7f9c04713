"""Running parts of fine-tunings on several devices, one process each."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import InputError
from .fine_tuning import FineTuning, Part

VISIBLE = 'CUDA_VISIBLE_DEVICES'
_ITERATIONS: Any = None
"""Counts the iterations of all processes, in each of them."""


class Devices:
    """Runs parts on ``devices`` (all GPUs, or the CPU), as many at a time as there are devices.

    With the one device that MMEngine would choose anyway they run in this process, one after another. Otherwise
    each device, as often as it is named, has a process of its own that sees no other and ends with this one, even if
    this one is killed.
    """

    def __init__(self, devices: Sequence[str] | None = None) -> None:
        gpus = [f'cuda:{index}' for index in range(torch.cuda.device_count())]
        self.names = tuple(gpus or ['cpu'] if devices is None else devices)
        if not self.names:
            raise InputError('give at least one device')
        for name in self.names:
            if name not in ('cpu', *gpus, *['cuda'] * bool(gpus)):
                raise InputError(f"there is no device {name!r} here: give 'cpu', or 'cuda:0' and so on where there are "
                                 f'GPUs')
        self._pools: dict[ProcessPoolExecutor, str] = {}

    def __enter__(self) -> Devices:
        default = ('cuda', 'cuda:0') if torch.cuda.is_available() else ('cpu', )
        if len(self.names) > 1 or self.names[0] not in default:
            context = multiprocessing.get_context('spawn')
            self._iterations: Any = context.Value('q')
            self._pools = {ProcessPoolExecutor(1, context, _begin, (self._iterations, )): name for name in self.names}
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def run(self, parts: Sequence[Part], done: Callable[[Part, FineTuning], None],
            advance: Callable[[int], Any]) -> None:
        """Runs all parts in their order; a device takes the next one as soon as it is free.

        ``done`` gets each part and what is known after it, in this process, as soon as it is there; ``advance``, now
        and then, the number of iterations since its last call.
        """
        if not self._pools:
            for part in parts:
                done(part, part.run(lambda: advance(1)))
            return
        waiting, free, seen = list(parts), list(self._pools), self._iterations.value
        running: dict[Future[Any], tuple[Part, ProcessPoolExecutor]] = {}
        while waiting or running:
            while waiting and free:
                part, pool = waiting.pop(0), free.pop(0)
                with _visible(self._pools[pool]):  # The process starts with its first part, in this environment.
                    running[pool.submit(_run, part)] = part, pool
            finished, _ = wait(running, 0.5, FIRST_COMPLETED)
            before, seen = seen, self._iterations.value
            advance(seen - before)
            for future in finished:
                part, pool = running.pop(future)
                free.append(pool)
                try:
                    done(part, future.result())
                except BrokenProcessPool as error:
                    raise InputError(f'the process that worked on {part.name} has died, perhaps for lack of memory: '
                                     f'run the same command again to resume') from error


@contextmanager
def _visible(device: str) -> Iterator[None]:
    """Lets a process that starts meanwhile see this device only."""
    before, index = os.environ.get(VISIBLE), device.partition(':')[2] or '0'
    os.environ[VISIBLE] = '' if device == 'cpu' else before.split(',')[int(index)] if before else index
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _begin(iterations: Any) -> None:
    global _ITERATIONS
    _ITERATIONS = iterations
    # A process that waits for work would not notice that nobody is left to send any.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(part: Part) -> FineTuning:
    def count() -> None:
        with _ITERATIONS.get_lock():
            _ITERATIONS.value += 1

    return part.run(count)
