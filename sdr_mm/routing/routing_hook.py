"""Routing inside a run: which sub-nets come to suit a task while they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..datasets.pool import load_pool
from ..errors import InputError
from ..models.backbone import SDRBackbone
from ..models.eval_settings import EvalSettings
from ..registry import EVALUATORS, HOOKS, SCOPE
from .evaluator import RoutingEvaluator


@HOOKS.register_module()
class RoutingHook(Hook):
    """Ranks the sub-nets for a task every few epochs and after training.

    The table goes to the log, the best and the mean score to the visualizer as ``routing/<task>/best`` and
    ``routing/<task>/mean``, and each ranking to ``<work_dir>/routing/<task>_epoch_<n>.json``, which
    ``tools/export_subnet.py --routing`` takes. The network, its mode and its statistics and the random
    numbers of training are left as they are.

    Args:
        evaluator (dict | RoutingEvaluator): The evaluator or its arguments, ``dict(task=…)``. Images and
            clusters of pre-training are those of the run, and so are, unless they are given, the size of the
            images and ``k``.
        interval (int): Epochs from one ranking to the next; 0 for one after training only. Defaults to 0.

    Raises:
        InputError: In training, if the model has no SDR backbone, or the evaluator cannot be used.
    """

    priority = 'LOW'

    def __init__(self, evaluator: dict[str, Any] | RoutingEvaluator, interval: int = 0) -> None:
        if interval < 0:
            raise InputError(f'RoutingHook.interval is a number of epochs, or 0, got {interval}')
        self.evaluator, self.interval = evaluator, interval

    def before_train(self, runner: Runner) -> None:
        """Reads the task, so that a wrong one is known before the training."""
        if isinstance(self.evaluator, dict):
            fits = EvalSettings.of(runner.cfg.to_dict())
            options: dict[str, Any] = dict(type='RoutingEvaluator', resize=fits.resize, size=fits.size, _scope_=SCOPE)
            options.update(self.evaluator)
            options['scorer'] = {'k': fits.k, **(options.get('scorer') or {})}
            self.evaluator = EVALUATORS.build(options)

    def after_train_epoch(self, runner: Runner) -> None:
        """Ranks if it is time to."""
        if self.interval and self.every_n_epochs(runner, self.interval) and not self.is_last_train_epoch(runner):
            self._route(runner, runner.epoch + 1)

    def after_train(self, runner: Runner) -> None:
        """Ranks what training has made."""
        self._route(runner, runner.epoch)

    def _route(self, runner: Runner, epoch: int) -> None:
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, SDRBackbone):
            raise InputError(f'RoutingHook needs a model whose backbone has sub-nets, such as SDRResNet, got '
                             f'{type(backbone).__name__}: leave the hook out')
        assert isinstance(self.evaluator, RoutingEvaluator)
        evaluator, config, pool = self.evaluator, runner.cfg.to_dict(), None
        if evaluator.needs_pool:
            pool = load_pool(config, backbone.space, need_clusters=evaluator.needs_clusters, where='the config')
        # Building networks draws random numbers, which training is not to notice.
        with torch.random.fork_rng(devices=[]):
            ranking = evaluator.evaluate(backbone, pool=pool, normalization=EvalSettings.of(config).normalization)
        if is_main_process():
            folder = Path(runner.work_dir) / 'routing'
            folder.mkdir(parents=True, exist_ok=True)
            # A resumed run comes by the same epoch again.
            ranking.save(folder / f'{ranking.task}_epoch_{epoch}.json', overwrite=True)
            runner.logger.info(f'routing after epoch {epoch}\n{ranking.table()}')
        scores = [network.score for network in ranking.scored]
        if scores:
            runner.visualizer.add_scalars(
                {f'routing/{ranking.task}/best': scores[0], f'routing/{ranking.task}/mean': float(np.mean(scores))},
                step=epoch)
