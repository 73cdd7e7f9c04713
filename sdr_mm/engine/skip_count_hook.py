"""Says how many images could not be decoded."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class SkipCountHook(Hook):
    """Counts the images that were replaced because they could not be decoded, and says so at the end.

    Needs ``LoadImage(on_error='skip')`` and an ``ImageFolder`` or a ``ClusterDataset``, which note the number in each
    data sample. It counts draws on this rank: a broken image that is drawn twice counts twice.
    """

    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        self.skipped = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert data_batch is not None
        self.skipped += sum(sample.get('skipped', 0) for sample in data_batch['data_samples'])

    def after_train(self, runner: Runner) -> None:
        if self.skipped:
            runner.logger.warning(f'{self.skipped} times an image could not be decoded and another one took its place')
