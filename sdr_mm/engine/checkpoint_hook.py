"""Checkpoints of which one is always whole."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..errors import InputError
from ..files import atomic_write
from ..registry import HOOKS
from .resuming import resuming

INTERRUPTED = 'interrupted.pth'
"""The checkpoint that a run leaves when it is told to stop, beside those of its intervals."""


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's hook, except that an old checkpoint is removed only when the new one is whole.

    :class:`~sdr_mm.engine.runner.TrainingRunner` puts it in the place of ``CheckpointHook``, whose options it takes,
    and writes each checkpoint whole or not at all.
    """

    def before_train(self, runner: Runner) -> None:
        # What the hook does not know it hands on, which would be found out at the first checkpoint.
        if unknown := [name for name in self.args if name not in signature(Runner.save_checkpoint).parameters]:
            raise InputError(f'default_hooks.checkpoint.{unknown[0]} is no option of a checkpoint: correct its name')
        # What it takes from a checkpoint may be anything.
        with resuming(runner._load_from or runner.work_dir) if runner._resume else nullcontext():
            super().before_train(runner)
        # A checkpoint names the best ones by their paths; for a copied folder these are the files of the original.
        self._best = {name: path and self._path(Path(path).name) for name, path in self._best.items()}

    def save_interrupted(self, runner: Runner) -> str:
        """Saves the state after this iteration over what an earlier interruption left, and returns the file's path."""
        runner.save_checkpoint(self.out_dir, INTERRUPTED, by_epoch=False, backend_args=self.backend_args,
                               meta=dict(epoch=runner.epoch, iter=runner.iter + 1))
        self._point_to(INTERRUPTED, runner)
        return self._path(INTERRUPTED)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        outdated = None
        if self.max_keep_ckpts > 0 and step not in list(self.keep_ckpt_ids)[-1:]:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        self._point_to(name, runner)
        self._remove(self._path(INTERRUPTED))
        if outdated is not None:
            self._remove(self._path(self.filename_tmpl.format(outdated)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        before = self._best
        self._best = dict.fromkeys(before)  # MMEngine finds none to remove.
        super()._save_best_checkpoint(runner, metrics)
        for name, old in before.items():
            new = self._best.get(name)
            if new is None:
                self._best = {**self._best, name: old}
            elif old and old != new:
                self._remove(old)

    @property
    def _best(self) -> dict[str, Any]:
        """Path of the best checkpoint by each metric, None before there is one."""
        if hasattr(self, 'best_ckpt_path_dict'):
            return dict(self.best_ckpt_path_dict)
        return {'': self.best_ckpt_path} if hasattr(self, 'best_ckpt_path') else {}

    @_best.setter
    def _best(self, paths: dict[str, Any]) -> None:
        if hasattr(self, 'best_ckpt_path_dict'):
            self.best_ckpt_path_dict = paths
        elif hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = paths['']

    def _path(self, name: str) -> str:
        return str(self.file_backend.join_path(self.out_dir, name))

    def _remove(self, path: str) -> None:
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _point_to(self, name: str, runner: Runner) -> None:
        """Writes ``last_checkpoint``, by which MMEngine's own tools resume."""
        if is_main_process():
            with atomic_write(Path(runner.work_dir) / 'last_checkpoint', overwrite=True) as temporary:
                temporary.write_text(self._path(name), encoding='utf-8')
