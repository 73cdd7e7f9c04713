"""Joining the processes of torchrun, and sharing work among them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed
from mmengine import dist
from mmengine.model import is_model_wrapper
from torch import nn

from .errors import InputError, Interrupted

T = TypeVar('T')


def choose_device(device: str | None = None) -> torch.device:
    """The device that was asked for, by default this process's own GPU if there is one.

    Raises:
        InputError: If there is no such device.
    """
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        if chosen.type == 'cuda' and chosen.index is None:
            chosen = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        float(torch.zeros((), device=chosen))  # 'meta' holds tensors but computes nothing
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"there is no device {device!r} here: give 'cpu', or 'cuda' where there is a GPU") from error
    if chosen.type == 'cuda':
        torch.cuda.set_device(chosen)
    return chosen


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of what DDP or another wrapper made of it."""
    inner: nn.Module = model.module if is_model_wrapper(model) else model  # type: ignore[assignment]
    return inner


@contextmanager
def process_group(device: str | None = None) -> Iterator[torch.device]:
    """Joins the processes of torchrun, if it started any, and leaves them at the end.

    Args:
        device (str, optional): ``'cpu'``, ``'cuda'`` or ``'cuda:1'``. Defaults to None, this process's own
            GPU if there is one.

    Yields:
        torch.device: The device of this process.

    Raises:
        InputError: If there is no such device.
    """
    chosen = choose_device(device)
    if int(os.environ.get('WORLD_SIZE', '1')) == 1 or torch.distributed.is_initialized():
        yield chosen
        return
    torch.distributed.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo')
    try:
        yield chosen
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def leaving_the_group() -> Iterator[None]:
    """Leaves a process group that was joined in this block, so that what comes after may join another one.

    Its threads may outlive that, and how a tool ends in spite of them is :func:`sdr_mm.cli.end_rank`.
    """
    joined_before, together = dist.is_distributed(), False
    try:
        yield
        together = True
    except Interrupted:
        together = True
        raise
    finally:
        # Where one rank fails alone NCCL might wait for the others, which wait for it.
        if dist.is_distributed() and not joined_before and (together or torch.distributed.get_backend() == 'gloo'):
            torch.distributed.destroy_process_group()


def on_all_ranks(work: Callable[[], T]) -> T:
    """Does something on each rank; an error of one is an error of all. All ranks must call.

    Raises:
        InputError: The first that a rank raised.
    """
    result, error = None, None
    try:
        result = work()
    except InputError as caught:
        error = caught
    # Exchanged even after an error, or the other ranks would wait for ever.
    for message in dist.all_gather_object(None if error is None else str(error)):
        if message is not None:
            raise error or InputError(message)
    return result  # type: ignore[return-value]


def gather(work: Callable[[], T]) -> list[T]:
    """As :func:`on_all_ranks`, and gives each rank the results of all, in the order of the ranks."""
    results: list[T] = dist.all_gather_object(on_all_ranks(work))
    return results


def share(items: Sequence[T]) -> Sequence[T]:
    """This rank's part of ``items``: every n-th of them, for n ranks."""
    return items[dist.get_rank()::dist.get_world_size()]
