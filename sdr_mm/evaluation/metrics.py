"""Metrics of classification, in per cent, on all samples at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InputError


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy of ``scores`` ``(n, classes)`` against ``labels`` ``(n,)``."""
    _check(scores, labels)
    return 100.0 * float((scores.argmax(1) == labels).mean())


def mean_per_class(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in ``labels`` of the accuracy within the class."""
    _check(scores, labels)
    hit = scores.argmax(1) == labels
    return 100.0 * float(np.mean([hit[labels == label].mean() for label in np.unique(labels)]))


def average_precision_11(scores: np.ndarray, positive: np.ndarray) -> float:
    """11-point interpolated average precision of one class, as VOC2007 defines it.

    Args:
        scores (np.ndarray): (n,). Samples of equal score are taken in together: their order cannot matter.
        positive (np.ndarray): (n,) whether the sample has the class.

    Returns:
        float: Mean over recall 0, 0.1, …, 1 of the best precision at that recall or more.
    """
    order = np.argsort(-scores, kind='stable')
    hits = np.cumsum(positive[order].astype(bool))
    if not hits.size or not hits[-1]:
        raise InputError('average precision needs at least one positive sample: this class has none in the test set')
    last = np.append(np.diff(scores[order]) != 0, True)
    precision, recalled = (hits / np.arange(1, len(hits) + 1))[last], hits[last]
    # 10 · recall in whole numbers: 0.7 · n is not always what it should be in floating point.
    best = [precision[10 * recalled >= tenth * hits[-1]].max() for tenth in range(11)]
    return 100.0 * float(np.mean(best))


def mean_average_precision_11(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of :func:`average_precision_11`; both arguments are ``(n, classes)``."""
    if scores.shape != labels.shape:
        raise InputError(f'scores {scores.shape} and labels {labels.shape} must have the same shape')
    return float(np.mean([average_precision_11(scores[:, c], labels[:, c]) for c in range(scores.shape[1])]))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    'accuracy': accuracy,
    'mean_per_class': mean_per_class,
    'map_11': mean_average_precision_11,
}
"""By the names that tasks, results and options use: ``scores (n, classes)`` and the labels to per cent."""


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise InputError(f'scores (n, classes) and labels (n,) do not fit together: {scores.shape} and {labels.shape}')
