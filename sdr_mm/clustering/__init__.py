"""From features of images to one cluster per sub-net (section 4.2 of the paper)."""

from .build import METHODS, build_clusters
from .features import Features, extract_features
from .report import ClusterReport, evaluate_clusters

__all__ = ['METHODS', 'ClusterReport', 'Features', 'build_clusters', 'evaluate_clusters', 'extract_features']
