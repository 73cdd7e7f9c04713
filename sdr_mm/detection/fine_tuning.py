"""Fine-tuning one candidate inside the detector, for some of the full schedule's iterations."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from ..engine.training import build_runner, check_resumed_weights
from ..errors import InputError
from ..files import atomic_write
from .divergence import Diverged, is_finite

COLUMNS = ('AP', 'AP50', 'AP75')
FORMAT = 'sdr_mm fine-tuning 1'
RECORD, STATE = 'record.json', 'state.pth'
_RUNS = count()


@dataclass
class FineTuning:
    """What is known of one candidate; the file ``record.json`` in its folder.

    Args:
        weights (str): Stands for the weights it started from.
        scores (dict[int, dict[str, float]]): AP, AP50 and AP75 in per cent, by iteration.
        done (int): Iteration of the saved state.
        seconds (float): What training and evaluation took so far.
        per_iteration (float): Median seconds of an iteration of the last part; 0 before the first.
        per_evaluation (float): Seconds of an evaluation; 0 before the first.
        per_part (float): Seconds of the last part beside both: building, loading, saving.
        diverged (str): Why it cannot go on. Defaults to '', it can.
    """

    weights: str
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    done: int = 0
    seconds: float = 0.0
    per_iteration: float = 0.0
    per_evaluation: float = 0.0
    per_part: float = 0.0
    diverged: str = ''

    @classmethod
    def load(cls, folder: Path, weights: str) -> FineTuning:
        """Reads the record in ``folder``; a new one if there is none.

        Raises:
            InputError: If it is damaged, or of other weights.
        """
        file = folder / RECORD
        if not file.exists():
            return cls(weights)
        try:
            content = json.loads(file.read_text(encoding='utf-8'))
            if content.pop('format') != FORMAT:
                raise KeyError('format')
            scores = {int(iteration): scores for iteration, scores in content.pop('scores').items()}
            record = cls(scores=scores, **content)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{file} is no record of a fine-tuning: remove {folder} to start it again') from error
        if record.weights != weights:
            raise InputError(f'{folder} holds the fine-tuning of other weights: pass another --work-dir, or remove it')
        return record

    def save(self, folder: Path) -> None:
        """Writes the record, whole or not at all."""
        with atomic_write(folder / RECORD, overwrite=True) as temporary:
            temporary.write_text(json.dumps(dict(asdict(self), format=FORMAT), indent=1) + '\n', encoding='utf-8')


@dataclass(frozen=True)
class Leg:
    """One part of a fine-tuning; what a process needs to run it.

    Args:
        name (str): Of the candidate.
        folder (Path): Its own.
        cfg (Config): Of the full training of the detector, with the candidate's backbone.
        weights (str): Stands for the weights it starts from.
        stop (int): Iteration at which to stop.
        images (int): Images in a batch.
        seed (int): Of the head's weights, the order of images, their augmentation and the boxes drawn.
        save_every (int): Iterations between two saves of the state.
        evaluates (bool): Whether to evaluate at the end.
        bar (bool): Whether to show a progress bar.
    """

    name: str
    folder: Path
    cfg: Config
    weights: str
    stop: int
    images: int
    seed: int
    save_every: int
    evaluates: bool = True
    bar: bool = False

    def run(self) -> FineTuning:
        """Goes on from the saved state, if there is one, up to ``stop``.

        A network that diverges is noted as such in its record.

        Raises:
            InputError: If the data cannot be used, or the GPU has too little memory.
        """
        record = FineTuning.load(self.folder, self.weights)
        if record.diverged or self.stop in record.scores or not self.evaluates and record.done >= self.stop:
            return record
        begin = time.monotonic()
        state = self.folder / STATE
        runner = None
        try:
            with _quiet():
                runner = build_runner(self.config(resume=state.exists()))
                check_resumed_weights(runner)
                runner.train()
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(f'{self.name}: the GPU has too little memory for {self.images} images at once: pass a '
                             f'lower --images') from error
        except Diverged as error:
            record.diverged = str(error)
        except InputError:
            raise
        except Exception as error:
            # Where numbers are not finite, heads fail in many ways before there is a loss.
            if runner is None or is_finite(runner.model):
                raise
            record.diverged = f'weights are not finite ({type(error).__name__} in the detector)'
        seconds = time.monotonic() - begin
        record.seconds = round(record.seconds + seconds, 3)
        if record.diverged:
            state.unlink(missing_ok=True)
        else:
            assert runner is not None
            self._note(record, runner.train_loop, seconds)
        record.save(self.folder)
        return record

    def _note(self, record: FineTuning, loop: Any, seconds: float) -> None:
        record.done = self.stop
        if loop.seconds:
            # The first ones are slower: processes start, memory is allocated.
            record.per_iteration = float(np.median(loop.seconds[min(2, len(loop.seconds) - 1):]))
        record.per_evaluation = loop.evaluation_seconds
        record.per_part = seconds - sum(loop.seconds)
        if self.evaluates:
            record.per_part -= loop.evaluation_seconds
            named = {name.split('/')[-1]: float(value) for name, value in loop.scores.items()}
            record.scores[self.stop] = {column: named[column] for column in COLUMNS}

    def config(self, resume: bool) -> Config:
        """The config of this part: as for the full training, but for its end, its batches and its files."""
        # It is stored with each state, and to format it takes a second.
        cfg = Config(self.cfg.to_dict(), filename=self.cfg.filename, format_python_code=False)
        loader = cfg.train_dataloader
        loader.dataset = dict(type='sdr_mm.SeededDataset', dataset=loader.dataset, seed=self.seed)
        loader.sampler = dict(type='InfiniteSampler', shuffle=True, seed=self.seed)
        loader.batch_sampler = dict(type='sdr_mm.NumberedBatches', batches=loader.get('batch_sampler'))
        loader.batch_size = self.images
        loader.pop('drop_last', None)  # There is no last batch.
        cfg.train_cfg = dict(
            type='sdr_mm.EarlyStopLoop',
            max_iters=cfg.train_cfg.max_iters,
            stop=self.stop,
            seed=self.seed,
            evaluates=self.evaluates,
            desc=self.name if self.bar else None)
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=self.seed)
        cfg.auto_scale_lr = None
        cfg.default_hooks.checkpoint = None
        state = str(self.folder / STATE)
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='sdr_mm.FiniteLossHook'),
                            dict(type='sdr_mm.StateHook', file=state, every=self.save_every, stop=self.stop)]
        cfg.work_dir, cfg.launcher = str(self.folder), 'none'
        # MMEngine keeps loggers by name, and several runs may begin in one second.
        cfg.experiment_name = f'{self.folder.name}_{self.stop}_{os.getpid()}_{next(_RUNS)}'
        cfg.resume, cfg.load_from = resume, state if resume else None
        return cfg


class _Nowhere(io.StringIO):
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MMEngine's log goes to its file only: its handler keeps the stream that is there when it is made."""
    with contextlib.redirect_stdout(_Nowhere()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
