"""Measuring frozen backbones on labelled images."""

from .features import pooled_features
from .images import ImageStore
from .knn import knn_predict
from .metrics import accuracy, average_precision_11, mean_average_precision_11, mean_per_class
from .task import Split, Task, stratified_splits

__all__ = [
    'ImageStore', 'Split', 'Task', 'accuracy', 'average_precision_11', 'knn_predict', 'mean_average_precision_11',
    'mean_per_class', 'pooled_features', 'stratified_splits'
]
