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

from ..errors import InputError
from ..models.checkpoints import normalization
from ..models.sdr_resnet import SDRResNet
from ..registry import EVALUATORS, HOOKS
from .evaluator import RoutingEvaluator
from .load_sdr import SDRInfo, load_pool, training_data


@HOOKS.register_module()
class RoutingHook(Hook):
    """Ranks the sub-nets for a task every few epochs and after training.

    The table goes to the log, the best and the mean score to the visualizer as ``routing/<task>/best`` and
    ``routing/<task>/mean``, and each ranking to ``<work_dir>/routing/<task>_epoch_<n>.json``, which
    ``tools/export_subnet.py --routing`` takes. The network, its mode and its statistics and the random
    numbers of training are left as they are.

    Args:
        evaluator (dict | RoutingEvaluator): The evaluator or its config,
            ``dict(type='RoutingEvaluator', task=…)``. Images and clusters of pre-training are those of
            the run.
        interval (int): Epochs from one ranking to the next; 0 for one after training only. Defaults to 0.

    Raises:
        InputError: In training, if the model has no :class:`SDRResNet`, or the evaluator cannot work.
    """

    priority = 'LOW'

    def __init__(self, evaluator: dict | RoutingEvaluator, interval: int = 0) -> None:
        if interval < 0:
            raise InputError(f'RoutingHook.interval is a number of epochs, or 0, got {interval}')
        self.evaluator: RoutingEvaluator = EVALUATORS.build(evaluator) if isinstance(evaluator, dict) else evaluator
        self.interval = interval

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
        if not isinstance(backbone, SDRResNet):
            raise InputError(f'RoutingHook needs a model whose backbone is an SDRResNet, got '
                             f'{type(backbone).__name__}: leave the hook out')
        config = runner.cfg.to_dict()
        mean, std = normalization(config)
        clusters, dataset = training_data(config)
        info = SDRInfo(Path(runner.work_dir) / f'epoch_{epoch}.pth', config, clusters, dataset, mean, std)
        evaluator, pool = self.evaluator, None
        if evaluator.needs_pool:
            pool = load_pool(info, backbone, need_clusters=evaluator.needs_clusters)
        # Building networks draws random numbers, which training is not to notice.
        with torch.random.fork_rng(devices=[]):
            result = evaluator.evaluate(backbone, pool=pool, mean=mean, std=std, say=runner.logger.info)
        if is_main_process():
            folder = Path(runner.work_dir) / 'routing'
            folder.mkdir(parents=True, exist_ok=True)
            # A resumed run comes by the same epoch again.
            result.save(folder / f'{result.task}_epoch_{epoch}.json', overwrite=True)
            runner.logger.info(f'routing after epoch {epoch}\n{result.table()}')
        scores = [row.score for row in result.scored]
        if scores:
            runner.visualizer.add_scalars(
                {f'routing/{result.task}/best': scores[0], f'routing/{result.task}/mean': float(np.mean(scores))},
                step=epoch)
