"""The first iterations of a long training."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import torch
from mmengine.runner import IterBasedTrainLoop

from ..cli import progress
from ..errors import InputError
from ..registry import LOOPS
from .seeded_batches import seed_everything


@LOOPS.register_module()
class EarlyStopLoop(IterBasedTrainLoop):
    """Trains up to iteration ``stop`` of a training of ``max_iters``, and evaluates there.

    Nothing else is shorter: schedules see the full length, so iteration ``i`` is what it is in the full
    run. Each iteration begins with random generators seeded by its number, and with the batch of that
    number, so that a run which was stopped anywhere goes on as if it had not been.

    Args:
        runner (Runner): Its loader has :class:`NumberedBatches`.
        dataloader (dict | DataLoader): The same.
        max_iters (int): Iterations of the full training.
        stop (int): Where to stop, at most ``max_iters``.
        seed (int): Defaults to 0.
        evaluates (bool): Whether to evaluate at the end. Defaults to True.
        desc (str, optional): Shows a progress bar of this name. Defaults to None, no bar.
        kwargs (Any): Further arguments of ``IterBasedTrainLoop``.

    Raises:
        InputError: If the state that it resumes from is beyond ``stop``.

    Attributes:
        seconds (list[float]): What each iteration took, with loading.
        scores (dict[str, float]): What the evaluation gave.
        evaluation_seconds (float): How long it took.
    """

    def __init__(self, runner: Any, dataloader: Any, max_iters: int, stop: int, seed: int = 0, evaluates: bool = True,
                 desc: str | None = None, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, max_iters, **kwargs)
        self.stop, self.seed, self.evaluates, self.desc = stop, seed, evaluates, desc
        self.seconds: list[float] = []
        self.scores: dict[str, float] = {}
        self.evaluation_seconds = 0.0

    def run(self) -> torch.nn.Module:
        """Runs the iterations that are left, and the evaluation."""
        runner = self.runner
        if self._iter > self.stop:
            raise InputError(f'{runner.work_dir} has been trained to iteration {self._iter}, further than to '
                             f'{self.stop}, where it is to be evaluated: pass more --iters, or another --work-dir')
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        if self._iter < self.stop:
            self._train()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        if self.evaluates:
            begin = time.monotonic()
            self.scores = runner.val_loop.run()
            self.evaluation_seconds = time.monotonic() - begin
        else:
            self.evaluation_seconds = self._measure()
        return runner.model

    def _train(self) -> None:
        self.dataloader.batch_sampler.start(self._iter)
        batches = iter(self.dataloader)
        with progress(total=self.stop, desc=self.desc or '') as bar:
            if self.desc is None:
                bar.disable = True
            bar.update(self._iter)
            while self._iter < self.stop:
                begin = time.monotonic()
                self.runner.model.train()
                batch = next(batches)
                seed_everything(self.seed, 1, self._iter)
                self.run_iter(batch)
                self.seconds.append(time.monotonic() - begin)
                bar.update()

    def _measure(self) -> float:
        """Seconds that an evaluation will take, from its second batch."""
        loop, seconds = self.runner.val_loop, 0.0
        loop.runner.model.eval()
        with torch.no_grad():
            begin = time.monotonic()
            for batch in islice(loop.dataloader, 2):
                begin = time.monotonic()
                loop.runner.model.val_step(batch)
                seconds = time.monotonic() - begin
        return seconds * len(loop.dataloader)
