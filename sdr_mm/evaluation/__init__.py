"""Measuring frozen backbones on labeled images."""

from ..images.store import ImageStore
from .features import pooled_features, task_features
from .h_score import h_score
from .knn import knn_predict
from .linear import LinearResult, linear_probe
from .logme import logme
from .metrics import METRICS, accuracy, average_precision_11, mean_average_precision_11, mean_per_class
from .task import Split, Task, hold_out, stratified_splits
from .task_config import TaskConfig, check_files, load_task
from .transrate import transrate

__all__ = [
    'METRICS', 'ImageStore', 'LinearResult', 'Split', 'Task', 'TaskConfig', 'accuracy', 'average_precision_11',
    'check_files', 'h_score', 'hold_out', 'knn_predict', 'linear_probe', 'load_task', 'logme',
    'mean_average_precision_11', 'mean_per_class', 'pooled_features', 'stratified_splits', 'task_features', 'transrate'
]
