"""Tells the optimizer which network the batch trains."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..distributed import unwrap
from ..errors import InputError
from ..registry import HOOKS
from ..space import SUPERNET
from .subnet_optim_wrapper import Selection, selection_of


@HOOKS.register_module()
class SubnetStepHook(Hook):
    """Confines each step to the network of its batch (Algorithm 1, "Optimize W_i").

    A batch with images of the super-net, joint ones included, moves all weights. Needs ``SubnetOptimWrapper`` or
    ``AmpSubnetOptimWrapper``.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Runner) -> None:
        if not hasattr(runner.optim_wrapper, 'confine'):
            raise InputError(f'SubnetStepHook cannot confine the steps of {type(runner.optim_wrapper).__name__}: set '
                             "optim_wrapper.type to 'SubnetOptimWrapper' or 'AmpSubnetOptimWrapper'")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        assert data_batch is not None
        networks = {sample.network for sample in data_batch['data_samples']}
        selection: Selection | None = None
        if SUPERNET not in networks:
            model: Any = unwrap(runner.model)
            selection = selection_of(model, model.backbone.space.path(networks.pop()))
        runner.optim_wrapper.confine(selection)
