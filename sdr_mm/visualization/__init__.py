"""Pictures, written as PNG without a display."""

from .gain_histogram import gain_histogram
from .gallery import cluster_gallery
from .report import routing_report

__all__ = ['cluster_gallery', 'gain_histogram', 'routing_report']
