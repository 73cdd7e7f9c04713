"""Refuses a run that would train on nothing."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import InputError
from ..registry import HOOKS


@HOOKS.register_module()
class LoaderCheckHook(Hook):
    """Stops before the training if the images do not fill one batch.

    A loader that drops the last, incomplete batch would give none then, and the run would end at
    once as if it had trained.

    Raises:
        InputError: Before the training.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if len(loader) == 0:
            raise InputError(f'{len(loader.dataset)} images do not fill one batch of '
                             f'{loader.batch_size * runner.world_size}: give more images, or a lower '
                             'train_dataloader.batch_size')
