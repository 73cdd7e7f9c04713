"""Work that is spread over the ranks of torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mmengine import dist

from ..errors import InputError

T = TypeVar('T')


def together(work: Callable[[], T]) -> T:
    """Does something on each rank; an error of one is an error of all.

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


def exchange(work: Callable[[], T]) -> list[T]:
    """As :func:`together`, and gives each rank the results of all."""
    return dist.all_gather_object(together(work))


def dealt(items: Sequence[T]) -> list[T]:
    """This rank's share."""
    return list(items[dist.get_rank()::dist.get_world_size()])
