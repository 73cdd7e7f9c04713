"""Noticing that a training has diverged."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ..registry import HOOKS


class Diverged(ArithmeticError):
    """The loss or the weights of a network are not finite. The message says which, and when."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a training as soon as its loss is NaN or infinite.

    The logger reads the loss in each iteration anyway, so this makes nothing slower.

    Raises:
        Diverged: Naming loss and iteration.
    """

    priority = 'HIGH'

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert outputs is not None
        loss = float(outputs['loss'])
        if not torch.tensor(loss).isfinite():
            raise Diverged(f'the loss is {loss} at iteration {runner.iter + 1}')


def is_finite(module: nn.Module) -> bool:
    """Whether all weights and statistics of ``module`` are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())
