"""A progress bar for short runs."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..cli import progress
from ..registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows iterations, loss and the time left on stderr, beside or in place of the log's lines.

    Args:
        desc (str): What the bar says in front. Defaults to 'training'.
    """

    priority = 'VERY_LOW'

    def __init__(self, desc: str = 'training') -> None:
        self.desc = desc

    def before_train(self, runner: Runner) -> None:
        self.bar = progress(total=runner.max_iters, desc=self.desc)
        self.bar.update(runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert outputs is not None
        if runner.iter % 10 == 0:
            self.bar.set_postfix(loss=f'{outputs["loss"].item():.3f}', refresh=False)
        self.bar.update()

    def after_train(self, runner: Runner) -> None:
        self.bar.close()
