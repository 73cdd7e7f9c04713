"""Fine-tuning one network inside the detector, for some of the full schedule's iterations."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
from torch import nn

from ..engine.training import build_runner
from ..errors import InputError, NotFiniteError
from ..files import atomic_write
from ..records import build, check, read_json
from ..registry import LOOPS
from .voc import COLUMNS

RECORD = 'record.json'
_RUNS = count()


@dataclass
class FineTuning:
    """What is known of the fine-tuning of one network; the file ``record.json`` in its folder."""

    bn: str = ''  # what the BN statistics of its backbone come from, once the backbone is written
    scores: dict[int, dict[str, float]] = field(default_factory=dict)  # AP, AP50, AP75 in per cent, by iteration
    done: int = 0  # iteration of its checkpoint
    seconds: float = 0.0  # of training and evaluation so far
    diverged: str = ''  # why it cannot be continued

    @classmethod
    def load(cls, folder: Path) -> FineTuning:
        """Reads the record in ``folder``; a new one if there is none."""
        file = folder / RECORD
        if not file.exists():
            return cls()
        advice = f'remove {folder} to start it again'
        content = read_json(file, advice)
        try:
            check(content, dict[str, Any], 'it')
            check(content.get('scores'), dict[str, dict[str, float]], 'scores')
            content['scores'] = {int(iteration): scores for iteration, scores in content['scores'].items()}
            record = build(cls, content, 'it')
            if not all({*COLUMNS} <= {*scores} for scores in record.scores.values()) or record.done < 0:
                raise ValueError(f'scores are {", ".join(COLUMNS)}')
            return record
        except ValueError as error:
            raise InputError(f'{file} is no record of a fine-tuning ({error}): {advice}') from error

    def save(self, folder: Path) -> None:
        """Writes the record, whole or not at all."""
        with atomic_write(folder / RECORD, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + '\n', encoding='utf-8')

    def checkpoint(self, folder: Path) -> Path:
        """The state of the detector at iteration ``done``, with optimizer and schedules."""
        return folder / f'iter_{self.done}.pth'


@dataclass(frozen=True)
class Part:
    """A part of a fine-tuning: from the last checkpoint to the next stop, in one run of MMEngine.

    Nothing of the schedule is shorter: iteration ``i`` has the learning rate it has in the full run. Images,
    augmentations and boxes drawn follow from the seed and the iteration at which the part begins, so that all
    networks see the same in the same part. The checkpoint is written at its end, and the record after that, so
    that a part which was interrupted anywhere is repeated from its beginning.
    """

    name: str
    folder: Path
    cfg: Config  # of the full training of the detector, with the network as its backbone
    stop: int  # iteration
    images: int  # in a batch
    seed: int = 0
    evaluates: bool = True  # at the end

    def run(self, step: Callable[[], None] = lambda: None) -> FineTuning:
        """Runs the part, unless that was done before, and calls ``step`` after each iteration.

        The record that it returns says whether the network diverges.
        """
        record = FineTuning.load(self.folder)
        if record.diverged or self.stop in record.scores or not self.evaluates and record.done >= self.stop:
            return record
        start = record.done if record.checkpoint(self.folder).exists() else 0
        if start > self.stop:
            raise InputError(f'{self.folder} has been trained to iteration {start}, further than to {self.stop}, where '
                             f'it is to be evaluated: pass more --iters, or another --work-dir')
        begin = time.monotonic()
        runner: Runner | None = None
        try:
            with _quiet():
                runner = build_runner(self.config(start))
                runner.train_loop.step = step
                runner.train()
            record.diverged = divergence(runner)
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(f'{self.name}: the GPU has too little memory for {self.images} images at once: pass a '
                             f'lower --images') from error
        except NotFiniteError as error:
            _, of_training, reason = str(error).partition(' has diverged at ')
            if not of_training:  # But of the checkpoint that it was to go on from.
                raise
            record.diverged = f'at {reason.partition(";")[0]}'
        except Exception as error:  # A head, which fails before there is a loss where numbers are not finite.
            record.diverged = '' if runner is None or isinstance(error, InputError) else divergence(runner)
            if not record.diverged:
                raise
        if not record.diverged:
            assert runner is not None
            record.done = self.stop
            with atomic_write(record.checkpoint(self.folder), overwrite=True) as file, _quiet():
                runner.save_checkpoint(str(file.parent), file.name, meta=dict(epoch=0, iter=self.stop))
            if self.evaluates:
                record.scores[self.stop] = runner.train_loop.scores
        record.seconds = round(record.seconds + time.monotonic() - begin, 3)
        record.save(self.folder)
        for file in self.folder.glob('iter_*.pth'):
            if record.diverged or file != record.checkpoint(self.folder):
                file.unlink()
        return record

    def config(self, start: int = 0) -> Config:
        """The config of the full training, but for the end of this part, its batches and its files."""
        # It is stored with each checkpoint, and to format it takes a second.
        cfg = Config(self.cfg.to_dict(), filename=self.cfg.filename, format_python_code=False)
        seed = self.seed + start
        cfg.train_dataloader.update(sampler=dict(type='InfiniteSampler', shuffle=True, seed=seed),
                                    batch_size=self.images)
        cfg.train_dataloader.pop('drop_last', None)  # There is no last batch.
        cfg.train_cfg = dict(type='sdr_mm.PartialTrainLoop', max_iters=cfg.train_cfg.max_iters, stop=self.stop,
                             seed=seed, evaluates=self.evaluates)
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
        cfg.auto_scale_lr = None
        cfg.default_hooks.checkpoint = None
        cfg.work_dir, cfg.launcher = str(self.folder), 'none'
        # MMEngine keeps loggers by name, and several runs may begin in one second.
        cfg.experiment_name = f'{self.folder.name}_{self.stop}_{os.getpid()}_{next(_RUNS)}'
        cfg.resume, cfg.load_from = start > 0, str(self.folder / f'iter_{start}.pth') if start else None
        return cfg


@LOOPS.register_module()
class PartialTrainLoop(IterBasedTrainLoop):
    """MMEngine's loop over a training of ``max_iters``, but only up to iteration ``stop``.

    When it resumes it does not load the images of the earlier iterations to throw them away, as MMEngine does:
    ``seed`` alone determines its images.

    Args:
        runner (Runner): Its owner.
        dataloader (dict | DataLoader): Without an end.
        max_iters (int): Iterations of the full training.
        stop (int): Where to stop, at most ``max_iters``.
        seed (int): Of this part. Defaults to 0.
        evaluates (bool): Whether to evaluate at the end, into ``scores``. Defaults to True.
        kwargs (Any): Further arguments of ``IterBasedTrainLoop``.
    """

    def __init__(self, runner: Runner, dataloader: Any, max_iters: int, stop: int, seed: int = 0,
                 evaluates: bool = True, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, max_iters, **kwargs)
        self.stop, self.seed, self.evaluates = stop, seed, evaluates
        self.step: Callable[[], None] = lambda: None
        self.scores: dict[str, float] = {}

    def run(self) -> nn.Module:
        """Runs the iterations that are left, and the evaluation."""
        # What building the model has drawn, and the seed in the checkpoint, depend on the network.
        set_random_seed(self.seed)
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        while self._iter < self.stop:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self.step()
        if self.evaluates:
            values = {name.split('/')[-1]: float(value) for name, value in self.runner.val_loop.run().items()}
            self.scores = {column: values[column] for column in COLUMNS}
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        model: nn.Module = self.runner.model
        return model


def divergence(runner: Runner) -> str:
    """Why the training in ``runner`` cannot go on; '' if its loss and its weights are finite."""
    losses = runner.message_hub.log_scalars.get('train/loss')
    if losses is not None and not math.isfinite(losses.current()):
        return f'the loss is {losses.current()} at iteration {runner.iter + 1}'
    return '' if is_finite(runner.model) else f'weights are not finite after iteration {runner.iter}'


def is_finite(module: nn.Module) -> bool:
    """Whether all weights and statistics of ``module`` are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MMEngine's log goes to its file only: its handler keeps the stream that is there when it is made."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
