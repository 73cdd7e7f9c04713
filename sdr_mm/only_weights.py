"""Keeps every library from running what a file of weights may hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

FORCE, FORBID = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
"""Variables of the environment that ``torch.load`` obeys, whatever its caller asks for."""


@contextmanager
def only_weights() -> Iterator[None]:
    """Inside, ``torch.load`` reads weights and nothing else, whoever calls it and however.

    torchvision, torch.hub and MMEngine ask it for pickles, which may run any code, and a variable of the environment
    can make pickles the default. PyTorch has another variable that overrules them all; processes that are started
    inside inherit it.
    """
    before = {name: os.environ.pop(name, None) for name in (FORCE, FORBID)}
    os.environ[FORCE] = '1'
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
