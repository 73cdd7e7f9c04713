"""Measuring frozen backbones on labelled images."""

from .features import pooled_features, task_features
from .images import ImageStore
from .knn import knn_predict
from .metrics import METRICS, accuracy, average_precision_11, mean_average_precision_11, mean_per_class
from .task import Split, Task, hold_out, stratified_splits
from .task_config import TaskConfig, check_files, load_task

__all__ = [
    'METRICS', 'ImageStore', 'Split', 'Task', 'TaskConfig', 'accuracy', 'average_precision_11', 'check_files',
    'hold_out', 'knn_predict', 'load_task', 'mean_average_precision_11', 'mean_per_class', 'pooled_features',
    'stratified_splits', 'task_features'
]
