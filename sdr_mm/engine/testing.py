"""Scoring a trained model on the test set of its config."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.evaluator import DumpResults

from ..distributed import leaving_the_group, unwrap
from ..errors import InputError
from ..models.checkpoints import load_exactly, read_checkpoint, state_of
from .training import build_runner


def evaluate(cfg: Config, checkpoint: str, predictions: str | None = None) -> dict[str, float]:
    """Loads what training with this config wrote and gives the numbers of the metric on its test set.

    Args:
        cfg (Config): The config.
        checkpoint (str): What was trained.
        predictions (str, optional): A file, ``NAME.pkl``, for the predictions of all images as MMEngine writes them:
            a pickle, which nothing here reads.

    Raises:
        InputError: If the config tests nothing, or the weights are not exactly those of its model.
    """
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise InputError(f'{cfg.filename} tests nothing: it needs a test_dataloader and a test_evaluator')
    state = state_of(read_checkpoint(checkpoint), checkpoint)
    with leaving_the_group():
        runner = build_runner(cfg)
        load_exactly(unwrap(runner.model), state, checkpoint)
        if predictions:
            runner.test_evaluator.metrics.append(DumpResults(predictions))
        scores: dict[str, float] = runner.test()
        return scores
