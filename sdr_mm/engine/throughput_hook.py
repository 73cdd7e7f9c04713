"""How many images a second a training takes."""

from __future__ import annotations

from collections import deque
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``images_per_second``, beside ``time`` and ``data_time`` of ``IterTimerHook`` and of the same iterations.

    Images of all ranks count, once each, however many views they have; in a joint iteration those of the super-net and
    those of the sub-net. Loading is part of the time.
    """

    priority = 55  # After IterTimerHook, before LoggerHook.

    def before_train(self, runner: Runner) -> None:
        self._recent: deque[tuple[int, float]] = deque(maxlen=runner.log_processor.window_size)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        if not isinstance(data_batch, dict) or 'data_samples' not in data_batch:
            return
        seconds = float(runner.message_hub.get_scalar('train/time').current())
        self._recent.append((len(data_batch['data_samples']) * runner.world_size, seconds))
        images, duration = (sum(part) for part in zip(*self._recent))
        runner.message_hub.update_scalar('train/images_per_second', images / max(duration, 1e-9), resumed=False)
