"""Running a tool on one process, or on several that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed

from ..errors import InputError


@contextmanager
def process_group(device: str | None = None) -> Iterator[torch.device]:
    """Joins the processes of torchrun, if it started any, and leaves them at the end.

    Args:
        device (str, optional): ``'cpu'`` or ``'cuda'``. Defaults to CUDA where there is one.

    Yields:
        torch.device: The device of this process.

    Raises:
        InputError: If there is no such device.
    """
    name = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise InputError(f'there is no device {name!r}: use cpu or cuda') from error
    if chosen.type not in ('cpu', 'cuda') or (chosen.type == 'cuda' and not torch.cuda.is_available()):
        raise InputError(f'the device {name!r} is not available here: use --device cpu')
    if int(os.environ.get('WORLD_SIZE', '1')) == 1 or torch.distributed.is_initialized():
        yield chosen
        return
    if chosen.type == 'cuda':
        chosen = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(chosen)
    torch.distributed.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo')
    try:
        yield chosen
    finally:
        torch.distributed.destroy_process_group()
