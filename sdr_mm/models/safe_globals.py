"""Lets ``torch.load(weights_only=True)``, the default since torch 2.6, read MMEngine's checkpoints.

Without this, upstream MMEngine cannot resume: the message hub in a checkpoint holds the types below.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def history_statistic(owner: Any, name: str) -> Any:
    """The ``getattr`` by which a pickled ``HistoryBuffer`` finds its statistics, and nothing else.

    Raises:
        ValueError: If anything else is asked for: with any ``getattr`` it likes, a checkpoint could run any code.
    """
    if owner is not HistoryBuffer or name not in ('current', 'max', 'mean', 'min'):
        raise ValueError(f'a checkpoint may not look up {name!r} of {owner!r}')
    return getattr(owner, name)


def allow_checkpoints() -> None:
    """Allows the few globals that a checkpoint of MMEngine needs beside tensors.

    Call it before every load: leaving ``torch.serialization.safe_globals``, in which the maintained MMEngine loads,
    withdraws the permission for the types that were named there, whoever had given it before.
    """
    # The two functions that rebuild arrays and scalars have another module in each version of NumPy.
    rebuild: list[Any] = [value.__reduce__()[0] for value in (np.empty(0), np.float64(0))]
    kinds = {type(np.dtype(kind)) for kind in ('float32', 'float64', 'int32', 'int64', 'bool')}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, (history_statistic, 'builtins.getattr'), *rebuild, np.ndarray, np.dtype, *kinds])
