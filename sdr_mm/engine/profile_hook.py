"""Where the time of an iteration goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.profiler import profile, schedule

from ..errors import InputError
from ..files import atomic_write
from ..registry import HOOKS

ROWS = 20
"""Operators in the table of the log."""


@HOOKS.register_module()
class ProfileHook(Hook):
    """Records some iterations of the main process by torch's profiler, while the training goes on.

    It writes ``profile.pt.trace.json.gz`` beside the log, which Perfetto (ui.perfetto.dev) and TensorBoard's profiler
    show, and logs the operators that take longest.

    Args:
        start (int): Iterations of this run, or of what is resumed of it, before the first one that is recorded. In
            phase 0 only the super-net is trained; let the recording begin later to see sub-nets. Defaults to 20.
        iterations (int): How many are recorded. Defaults to 5.
    """

    priority = 'VERY_LOW'

    def __init__(self, start: int = 20, iterations: int = 5) -> None:
        if start < 1 or iterations < 1:
            raise InputError(f'ProfileHook needs start and iterations of at least 1, got {start} and {iterations}')
        self.start, self.iterations = start, iterations
        self._profiler: profile | None = None

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        self._written = False

        def write(profiler: profile) -> None:
            self._written = True
            self._write(runner, profiler)

        # The last of the iterations before warms the profiler up.
        steps = schedule(wait=self.start - 1, warmup=1, active=self.iterations, repeat=1)
        self._profiler = profile(schedule=steps, on_trace_ready=write, profile_memory=True)
        self._profiler.start()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        if self._profiler is not None:
            self._profiler.step()
            if self._written:
                self._stop()

    def after_train(self, runner: Runner) -> None:
        if self._profiler is not None:
            self._stop()  # Writes what it has of the iterations to record.
            if not self._written:
                runner.logger.warning(f'nothing was profiled: the training ended before its iteration '
                                      f'{self.start + 1} from here, give a smaller --profile N')

    def _stop(self) -> None:
        assert self._profiler is not None
        profiler, self._profiler = self._profiler, None
        profiler.stop()

    def _write(self, runner: Runner, profiler: profile) -> None:
        file = Path(runner.log_dir) / 'profile.pt.trace.json.gz'
        with atomic_write(file, overwrite=True) as temporary:
            profiler.export_chrome_trace(str(temporary))
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        table = profiler.key_averages().table(sort_by=f'self_{device}_time_total', row_limit=ROWS)
        runner.logger.info(f'A profile is in {file}. The operators that take longest:\n{table}')
