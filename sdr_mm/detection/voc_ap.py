"""Average precision of detections as PASCAL VOC defines it, at several overlaps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Objects:
    """The true objects of one image.

    Args:
        boxes (np.ndarray): ``(n, 4)``: left, top, right and bottom pixel, all of them inside the box.
        labels (np.ndarray): ``(n,)`` class numbers.
        difficult (np.ndarray): ``(n,)`` whether it neither has to be found nor counts against who finds it.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image.

    Args:
        boxes (np.ndarray): ``(m, 4)``, like those of :class:`Objects`.
        labels (np.ndarray): ``(m,)`` class numbers.
        scores (np.ndarray): ``(m,)`` how sure it is.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair, ``(m, n)``, in float64; a box holds its last row and column."""
    boxes, others = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low + 1).clip(0).prod(-1)
    areas = [(part[..., 2:] - part[..., :2] + 1).prod(-1) for part in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


def average_precision_11(hit: np.ndarray, false: np.ndarray, count: int) -> float:
    """11-point interpolated average precision.

    Args:
        hit (np.ndarray): ``(m,)`` whether a detection found an object, best score first.
        false (np.ndarray): ``(m,)`` whether it counts as false; neither if it found a difficult object.
        count (int): How many objects there are to find, at least one.

    Returns:
        float: Mean over recall 0, 0.1, …, 1 of the best precision at that recall or more, from 0 to 1.
    """
    hits, falses = np.cumsum(hit), np.cumsum(false)
    precision = hits / np.maximum(hits + falses, 1)
    # 10 · recall in whole numbers: 0.3 · n is not always what it should be in floating point.
    return float(np.mean([precision[10 * hits >= tenth * count].max(initial=0) for tenth in range(11)]))


def voc_average_precision(detections: Sequence[Detections], objects: Sequence[Objects], label: int,
                          thresholds: Sequence[float]) -> tuple[np.ndarray, int]:
    """Average precision of one class over all images.

    A detection belongs to the object, of its class, with which it overlaps most; it finds it if the overlap
    is at least the threshold and no better scored detection found it before. What belongs to a difficult
    object counts neither way.

    Args:
        detections (Sequence[Detections]): For each image.
        objects (Sequence[Objects]): For each image.
        label (int): The class.
        thresholds (Sequence[float]): Of intersection over union.

    Returns:
        tuple[np.ndarray, int]: From 0 to 1 for each threshold (nan if there is nothing to find), and the
        number of objects that are not difficult.
    """
    scores, overlap, target = [np.empty(0)], [np.empty(0)], [np.empty(0, dtype=np.int64)]
    difficult = [np.empty(0, dtype=bool)]
    before = 0
    for found, true in zip(detections, objects):
        mine, theirs = found.labels == label, true.labels == label
        ious = overlaps(found.boxes[mine], true.boxes[theirs])
        # With no object in the image the overlap is less than any threshold.
        padded = np.concatenate([ious, np.full((len(ious), 1), -1.0)], axis=1)
        best = padded.argmax(1)
        scores.append(found.scores[mine])
        overlap.append(padded.max(1))
        target.append(before + best)
        difficult.append(np.append(true.difficult[theirs], False))
        before += theirs.sum() + 1
    is_difficult = np.concatenate(difficult)
    count = sum(int((~true.difficult[true.labels == label]).sum()) for true in objects)
    if count == 0:
        return np.full(len(thresholds), np.nan), 0
    order = np.argsort(-np.concatenate(scores), kind='stable')
    best_overlap, best_object = np.concatenate(overlap)[order], np.concatenate(target)[order]
    values = []
    for threshold in thresholds:
        over = best_overlap >= threshold
        candidates = np.flatnonzero(over & ~is_difficult[best_object])
        hit = np.zeros(len(order), dtype=bool)
        hit[candidates[np.unique(best_object[candidates], return_index=True)[1]]] = True
        ignored = over & is_difficult[best_object]
        values.append(average_precision_11(hit, ~hit & ~ignored, count))
    return np.array(values), count
