"""Watches every network for collapse."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import InputError
from ..registry import HOOKS
from ..space import SUPERNET


def network_name(network: int) -> str:
    """How logs call a network: ``supernet`` or ``subnet_007``."""
    return 'supernet' if network == SUPERNET else f'subnet_{network:03d}'


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Logs loss and output std of each network, and warns or stops when one of them collapses.

    When a siamese network collapses its loss looks perfect, but the l2-normalized projection no longer varies over the
    batch. Its standard deviation is 1/√d for features spread evenly over the sphere and 0 after collapse; the model
    reports the ratio of the two as ``std_ratio``. A network counts as collapsed when the ratio stays below
    ``threshold`` for ``patience`` of its own iterations in a row.

    Scalars go to the visualizer as ``networks/<network>/<loss or std>`` whenever the network is drawn and ``interval``
    iterations have passed since it was last logged.

    Args:
        threshold (float): Ratio under which the output counts as constant. Defaults to 0.1.
        patience (int): Iterations of a network in a row under the threshold. Defaults to 10.
        action (str): ``warn`` once for each network, or ``stop`` the run. Defaults to 'warn'.
        interval (int): Iterations between two logs of one network. Defaults to 50.

    Raises:
        InputError: In training, if ``action`` is ``stop`` and a network has collapsed. Checkpoints written so far stay.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, threshold: float = 0.1, patience: int = 10, action: str = 'warn', interval: int = 50) -> None:
        if action not in ('warn', 'stop'):
            raise InputError(f"CollapseMonitorHook.action is 'warn' or 'stop', got '{action}'")
        self.threshold, self.patience, self.action, self.interval = threshold, patience, action, interval
        self._below: dict[int, int] = {}
        self._logged: dict[int, int] = {}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert outputs is not None
        drawn = int(outputs['network'])
        own = {name: value for name, value in outputs.items() if name in ('loss_ssl', 'loss_kd', 'std_ratio')}
        self._watch(runner, drawn, own)
        joint = {name.removesuffix('_supernet'): value for name, value in outputs.items() if name.endswith('_supernet')}
        if joint:
            self._watch(runner, SUPERNET, joint)

    def _watch(self, runner: Runner, network: int, values: dict[str, Any]) -> None:
        name = network_name(network)
        if runner.iter - self._logged.get(network, -self.interval) >= self.interval and is_main_process():
            self._logged[network] = runner.iter
            scalars = {f'networks/{name}/{key}': value.item() for key, value in values.items()}
            runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        ratio = values['std_ratio'].item()
        # A NaN is no healthy output either, hence the negation.
        self._below[network] = self._below.get(network, 0) + 1 if not ratio >= self.threshold else 0
        if self._below[network] != self.patience:
            return
        message = (f'{name} has collapsed: the std of its output was under {self.threshold:g} of 1/sqrt(d) for '
                   f'{self.patience} of its iterations, last {ratio:.3f} at iteration {runner.iter + 1}; '
                   'lower the learning rate, enlarge the clusters, or start the sub-nets later')
        if self.action == 'stop':
            raise InputError(message)
        runner.logger.warning(message)
