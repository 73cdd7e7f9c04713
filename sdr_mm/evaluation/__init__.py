"""Measuring frozen backbones on labeled images. Names are imported when they are first used."""
# ruff: noqa: F401

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agreement import RankCorrelation, rank_correlation, regret, top1_agreement
    from .evaluate import Evaluation, Protocol, evaluate_network
    from .features import pooled_features, task_features
    from .knn import knn_predict
    from .linear import LinearResult, linear_probe
    from .metrics import METRICS, accuracy, average_precision_11, mean_average_precision_11, mean_per_class
    from .task import Split, Task, hold_out, stratified_splits
    from .task_config import TaskConfig, load_task
    from .transferability import h_score, logme, transrate

_NAMES = {
    'agreement': ('RankCorrelation', 'rank_correlation', 'regret', 'top1_agreement'),
    'evaluate': ('Evaluation', 'Protocol', 'evaluate_network'),
    'features': ('pooled_features', 'task_features'),
    'knn': ('knn_predict', ),
    'linear': ('LinearResult', 'linear_probe'),
    'metrics': ('METRICS', 'accuracy', 'average_precision_11', 'mean_average_precision_11', 'mean_per_class'),
    'task': ('Split', 'Task', 'hold_out', 'stratified_splits'),
    'task_config': ('TaskConfig', 'load_task'),
    'transferability': ('h_score', 'logme', 'transrate'),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_MODULES[name]}', __name__), name)
