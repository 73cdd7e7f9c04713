"""Pictures, written as PNG without a display, and a page."""

from .bars import Scores, score_bars
from .classes import class_mix, read_classes
from .gain_columns import gains_matrix, task_gains
from .gallery import cluster_gallery, routed_rows
from .report import routing_report
from .routing_page import routing_page

__all__ = ['Scores', 'class_mix', 'cluster_gallery', 'gains_matrix', 'read_classes', 'routed_rows', 'routing_page',
           'routing_report', 'score_bars', 'task_gains']
