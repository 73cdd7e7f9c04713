"""Running jobs on several devices, one process each."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

from ..errors import InputError

VISIBLE = 'CUDA_VISIBLE_DEVICES'


class Job(Protocol):
    """What is to be done; it must pickle."""

    @property
    def name(self) -> str:
        """For messages."""

    def run(self) -> Any:
        """Does it."""


J = TypeVar('J', bound=Job)


class Workers:
    """Runs jobs on ``devices``, as many at a time as there are devices.

    With the one device that MMEngine would choose anyway they run in this process, one after another. Else
    each device has a process of its own that sees no other. A process ends with this one, even if this one
    is killed.

    Args:
        devices (Sequence[str]): ``'cpu'``, ``'cuda:0'``, …; one may be there several times.

    Raises:
        InputError: If there is no such device.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        if not devices:
            raise InputError('give at least one device')
        for device in devices:
            _check(device)
        self.devices = tuple(devices)
        self.here = len(devices) == 1 and devices[0] in (('cuda', 'cuda:0') if torch.cuda.is_available() else ('cpu', ))
        self._pools: list[ProcessPoolExecutor] = []

    def __enter__(self) -> Workers:
        if not self.here:
            context = multiprocessing.get_context('spawn')
            self._pools = [ProcessPoolExecutor(1, context, initializer=_end_with_parent) for _ in self.devices]
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def run(self, jobs: Sequence[J], done: Callable[[J, Any], None] = lambda job, result: None) -> list[Any]:
        """Runs all jobs; a device takes the next one as soon as it is free.

        Args:
            jobs (Sequence[Job]): In the order in which they begin.
            done (Callable): Is told each job with its result, in this process, as soon as it is there.

        Returns:
            list: Results in the order of the jobs.

        Raises:
            InputError: If a process died, or a job raised it.
        """
        results: list[Any] = [None] * len(jobs)
        if self.here:
            for number, job in enumerate(jobs):
                results[number] = job.run()
                done(job, results[number])
            return results
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(jobs)):
            waiting.put(number)
        lock, stop = threading.Lock(), threading.Event()

        def work(pool: ProcessPoolExecutor, device: str) -> None:
            while not stop.is_set():
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    with lock, _visible(device):  # The process starts with its first job, in this environment.
                        future = pool.submit(jobs[number].run)
                    results[number] = future.result()
                    with lock:
                        done(jobs[number], results[number])
                except BrokenProcessPool as error:
                    stop.set()
                    raise InputError(f'the process that worked on {jobs[number].name} has died, perhaps for lack of '
                                     f'memory: run the same command again to go on') from error
                except BaseException:
                    stop.set()
                    raise

        with ThreadPoolExecutor(len(self._pools)) as threads:
            for future in [threads.submit(work, *pair) for pair in zip(self._pools, self.devices)]:
                future.result()
        return results


def default_devices() -> list[str]:
    """All GPUs, or the CPU."""
    return [f'cuda:{index}' for index in range(torch.cuda.device_count())] or ['cpu']


def _check(device: str) -> None:
    try:
        chosen = torch.device(device)
        known = chosen.type == 'cpu' or chosen.type == 'cuda' and (chosen.index or 0) < torch.cuda.device_count()
    except RuntimeError:
        known = False
    if not known:
        raise InputError(f"there is no device {device!r} here: give 'cpu', or 'cuda:0' and so on where there are GPUs")


@contextmanager
def _visible(device: str) -> Iterator[None]:
    """Lets a process that starts meanwhile see this device only."""
    before: str | None = os.environ.get(VISIBLE)
    chosen = torch.device(device)
    if chosen.type == 'cpu':
        os.environ[VISIBLE] = ''
    else:
        index = chosen.index or 0
        os.environ[VISIBLE] = before.split(',')[index] if before else str(index)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _end_with_parent() -> None:
    """A process that waits for jobs would not notice that nobody is left to send one."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
