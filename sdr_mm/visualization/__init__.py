"""Pictures, written as PNG without a display."""

from .bars import Scores, score_bars
from .classes import class_mix, read_classes
from .gain_columns import gains_matrix, task_gains
from .gallery import cluster_gallery, routed_rows
from .report import routing_report

__all__ = ['Scores', 'class_mix', 'cluster_gallery', 'gains_matrix', 'read_classes', 'routed_rows', 'routing_report',
           'score_bars', 'task_gains']
