"""Keeps the predictor's learning rate constant."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class FixedLRHook(Hook):
    """Holds the learning rate of the parameter groups marked ``fix_lr`` at its initial value.

    SimSiam decays all learning rates but the predictor's. The group is marked in the config::

        optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))

    Unlike with MMPretrain's ``SimSiamHook`` the value is the group's own, so ``--auto-scale-lr`` reaches it, and it is
    restored before every iteration, so no scheduler of any kind, warm-up included, moves it.
    """

    priority = 'VERY_LOW'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        for group in runner.optim_wrapper.optimizer.param_groups:
            if group.get('fix_lr'):
                group['lr'] = group.setdefault('initial_lr', group['lr'])
