"""Notices a training that diverges before it does harm."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from ..distributed import unwrap
from ..errors import InputError, NotFiniteError
from ..registry import HOOKS
from .collapse_monitor_hook import network_name

OVERFLOWS = 25
"""Steps in a row that loss scaling may hold back: from 65536 the scale is below 1/256 then, so it is not to blame."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stops at a loss or gradient that is NaN or infinite, or passes over its batch.

    It names the network, the losses and the iteration, for any model and any optimizer wrapper. Steps are judged by the
    norm of the gradient, which under DDP is the same on all ranks, so they agree; a loss is the rank's own.

    With ``skip`` such a step is not taken: weights and the optimizer's state stay as they were, and so do the running
    statistics of the norms, which the batch has spoiled. With ``stop`` the run ends before anything is saved. Whatever
    the action, no checkpoint is written with weights or statistics that are not finite, so earlier ones stay.

    Under mixed precision the gradient overflows now and then until the loss scale fits. The scaler holds back these
    steps, and they are no error, unless the loss is not finite either or there are ``OVERFLOWS`` of them in a row.

    Args:
        action (str): ``stop`` or ``skip``. Defaults to 'stop'.
        max_skips (int): With ``skip``, most batches in a row that are passed over. Defaults to 10.

    Raises:
        NotFiniteError: In training, if the run is to stop, or a checkpoint would not be finite.

    Note:
        ``skip`` reads the norm before each step and keeps a copy of the statistics, for which a GPU has to wait;
        ``stop`` reads it after the step.
    """

    priority = 'HIGH'  # Before hooks that log, and those that save.

    def __init__(self, action: str = 'stop', max_skips: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise InputError(f"NonFiniteHook.action is 'stop' or 'skip', got '{action}'")
        if max_skips < 1:
            raise InputError(f'NonFiniteHook.max_skips is at least 1, got {max_skips}')
        self.action, self.max_skips = action, max_skips
        self._norm: Tensor | None = None
        self._scaled = False
        self._skips = self._overflows = 0

    def before_train(self, runner: Runner) -> None:
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._judge)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        if self.action == 'skip':
            self._kept = [(buffer, buffer.clone()) for buffer in _statistics(runner.model)]

    def _judge(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Measures the gradient, and before a step that is to be skipped takes it away: without one nothing moves."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group['params']
                      if parameter.grad is not None]
        # A fused optimizer takes gradients that are still scaled, and holds back its step itself where this is not 0.
        found_inf = getattr(optimizer, 'found_inf', None)
        self._scaled = found_inf is not None
        self._norm = (torch.zeros_like(found_inf).masked_fill(found_inf > 0, math.inf) if found_inf is not None
                      else nn.utils.get_total_norm([parameter.grad for parameter in parameters]))
        if self.action == 'skip' and not self._norm.isfinite():
            for parameter in parameters:
                parameter.grad = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert outputs is not None
        norm = self._gradient_norm(runner)
        values = {name: value.item() for name, value in outputs.items() if 'loss' in name}
        if math.isfinite(norm) and math.isfinite(values['loss']):
            self._skips = 0
            return
        found = [f'{name} {value}' for name, value in values.items() if not math.isfinite(value)]
        found += [] if math.isfinite(norm) else [f'gradient norm {norm}']
        message = f'{_network(runner, outputs)} has diverged at iteration {runner.iter + 1}: {", ".join(found)}'
        if self.action == 'stop':
            raise NotFiniteError(f'{message}; the checkpoints so far stay: lower the learning rate, or let '
                                 "NonFiniteHook have action='skip' if single batches are to blame")
        for buffer, kept in self._kept:
            buffer.copy_(kept)
        self._skips += 1
        if self._skips > self.max_skips:
            raise NotFiniteError(f'{message}, after {self.max_skips} such batches in a row; the checkpoints so far '
                                 'stay: lower the learning rate')
        taken = 'its gradient is finite, so the step was taken' if math.isfinite(norm) else 'the step was not taken'
        runner.logger.warning(f'{message}; {taken}')

    def _gradient_norm(self, runner: Runner) -> float:
        """The norm at this iteration's step; 0 where there was none to take."""
        norm, self._norm = self._norm, None
        if norm is not None and (not self._scaled or norm.isfinite()):
            self._overflows = 0
            return norm.item()
        if norm is None and not runner.optim_wrapper.should_update():  # It accumulates gradients.
            return 0.0
        self._overflows += 1
        return 0.0 if self._overflows < OVERFLOWS else math.inf

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint that is not finite, before a file is touched."""
        for name, tensor in checkpoint['state_dict'].items():
            if not torch.isfinite(tensor).all():
                raise NotFiniteError(f'{name} is not finite after iteration {checkpoint["meta"]["iter"]}: the training '
                                     'has diverged, and nothing was saved; lower the learning rate')


def _statistics(model: nn.Module) -> list[Tensor]:
    return [buffer for module in model.modules() if isinstance(module, _NormBase)
            for buffer in module.buffers(recurse=False)]


def _network(runner: Runner, outputs: dict[str, Any]) -> str:
    if 'network' not in outputs:
        return type(unwrap(runner.model)).__name__
    joint = any(name.endswith('_supernet') for name in outputs)
    return 'supernet and ' * joint + network_name(int(outputs['network']))
