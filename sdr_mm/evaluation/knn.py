"""Weighted cosine kNN (Wu et al. 2018), by which the paper routes (section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

Array = Union[np.ndarray, Tensor]

MEMORY = 256 * 2**20
"""Bytes that the similarities of one chunk of test samples may take."""


def knn_predict(train_features: Array,
                train_labels: Array,
                test_features: Array,
                *,
                k: Sequence[int] = (200, ),
                temperature: float = 0.07,
                num_classes: Optional[int] = None,
                chunk: Optional[int] = None) -> dict[int, np.ndarray]:
    """Scores of the test samples for each class.

    The ``k`` training samples of the highest cosine vote for their label with the weight
    ``exp(cos / temperature)``; of equal cosines the earlier training samples are taken. Memory is
    bounded by the chunk, and the result depends neither on it nor on the number of threads, the device
    or the order of summation: see the note.

    Note:
        The entries of the normalised features are rounded to multiples of 2⁻²⁶. A product of two is a
        multiple of 2⁻⁵² and all partial sums of a cosine are at most about 1, so each of them is
        exactly a float64 and the matrix product comes out the same in any order. The rounding
        costs no more than a float32 product would (about 1e-7 at 2048 dimensions).

    Args:
        train_features (Array): (n, d), not necessarily normalised.
        train_labels (Array): (n,) class numbers, or (n, classes) of 0 and 1 for several labels each.
        test_features (Array): (m, d).
        k (Sequence[int]): Numbers of neighbours, each clamped to n. Defaults to (200, ).
        temperature (float): ``T``, positive. Defaults to 0.07.
        num_classes (int, optional): Classes. Defaults to None, the highest label + 1.
        chunk (int, optional): Test samples at a time. Defaults to None: as many as fit ``MEMORY``.

    Returns:
        dict[int, np.ndarray]: For each ``k`` as asked for, (m, classes) float64: the weighted average of
        the neighbours' labels, one-hot where labels are class numbers. The prediction is its argmax.

    Raises:
        InputError: If features are not finite, shapes do not fit, there is only one class, or an option
            is out of range.
    """
    train, labels, test = torch.as_tensor(train_features), torch.as_tensor(train_labels), torch.as_tensor(test_features)
    num_classes = _check(train, labels, test, k, temperature, num_classes)
    targets = labels.cpu()
    train, test = unit(train), unit(test.to(train.device))
    most = min(max(k), len(train))
    if chunk is None:
        chunk = max(1, MEMORY // (8 * len(train)))
    if chunk < 1:
        raise InputError(f'the chunk of kNN must be at least 1, got {chunk}')
    scores = {number: np.empty((len(test), num_classes)) for number in k}
    for start in range(0, len(test), chunk):
        cosine = test[start:start + chunk] @ train.T
        nearest = _top(cosine, most)
        near = cosine.gather(1, nearest).cpu()
        nearest = nearest.cpu()
        # Relative to the nearest, so that a small temperature cannot overflow; the ratio is the same.
        weights = ((near - near[:, :1]) / temperature).exp()
        for number in k:
            part = weights[:, :number] / weights[:, :number].sum(1, keepdim=True)
            if targets.dim() == 1:
                votes = torch.zeros(len(part), num_classes, dtype=torch.float64)
                votes.scatter_add_(1, targets[nearest[:, :number]], part)
            else:
                votes = (part[:, :, None] * targets[nearest[:, :number]]).sum(1)
            scores[number][start:start + chunk] = votes.numpy()
    return scores


def unit(features: Tensor) -> Tensor:
    """Rows of length 1 in float64, rounded to multiples of 2⁻²⁶; a row of zeros stays one."""
    features = features.double()
    features = features / features.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (features * 2**26).round_() / 2**26


def _top(values: Tensor, k: int) -> Tensor:
    """Column numbers of the ``k`` highest values of each row, descending; of equal ones the first.

    ``torch.topk`` may take any of several equal values, so it only finds the ``k``-th one.
    """
    least = values.topk(k, dim=1).values[:, -1:]
    above, equal = values > least, values == least
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= k - above.sum(1, keepdim=True)))
    columns = chosen.nonzero()[:, 1].view(len(values), k)
    order = values.gather(1, columns).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)


def _check(train: Tensor, labels: Tensor, test: Tensor, k: Sequence[int], temperature: float,
           num_classes: Optional[int]) -> int:
    if train.dim() != 2 or test.dim() != 2 or train.shape[1] != test.shape[1] or not train.numel() or not test.numel():
        raise InputError(f'kNN needs features (n, d) and (m, d) with the same d, got {tuple(train.shape)} for training '
                         f'and {tuple(test.shape)} for test')
    if labels.dim() not in (1, 2) or len(labels) != len(train):
        raise InputError(f'kNN needs one label for each of {len(train)} training samples, got {tuple(labels.shape)}')
    if not k or min(k) < 1:
        raise InputError(f'the k of kNN must be at least 1, got {tuple(k)}')
    if not temperature > 0:
        raise InputError(f'the temperature of kNN must be positive, got {temperature}')
    for name, features in (('training', train), ('test', test)):
        broken = int((~features.isfinite().all(1)).sum())
        if broken:
            raise InputError(f'features of {broken} of {len(features)} {name} samples are not finite (NaN or '
                             f'infinite): the network has diverged, take another checkpoint')
    if labels.dim() == 2:
        classes = labels.shape[1]
    else:
        if labels.is_floating_point() or labels.min() < 0:
            raise InputError('the labels of kNN must be class numbers from 0')
        if labels.unique().numel() < 2:
            raise InputError('kNN needs samples of at least two classes: the training part has one')
        classes = int(labels.max()) + 1
    if num_classes is not None and (num_classes < classes or labels.dim() == 2 and num_classes != classes):
        raise InputError(f'the labels have {classes} classes, but {num_classes} were announced')
    return num_classes or classes
