"""Weighted cosine kNN (Wu et al. 2018), by which the paper routes (section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine import dist
from torch import Tensor

from ..errors import InputError
from .checks import Array, check_finite, check_labeled, count_classes

MEMORY = 256 * 2**20
"""Bytes that the similarities of one chunk of test samples may take."""

_ROWS, _COLUMNS = 1024, 512


def knn_predict(train_features: Array, train_labels: Array, test_features: Array, *, k: Sequence[int] = (200, ),
                temperature: float = 0.07, num_classes: int | None = None, chunk: int | None = None,
                across_ranks: bool = False) -> dict[int, np.ndarray]:
    """Scores of the test samples for each class.

    The ``k`` training samples of the highest cosine vote for their label with the weight ``exp(cos / temperature)``;
    of equal cosines the earlier training samples are taken. The result depends neither on the chunk nor on the number
    of threads or ranks, the device or the order of summation.

    Note:
        The entries of the normalized features are rounded to multiples of 2⁻²⁴. A product of two is a multiple of
        2⁻⁴⁸ and all partial sums of a cosine are at most about 1, so each of them is exactly a float64, and a cosine
        comes out the same in any order. The rounding costs less than a float32 product would (about 3e-8). A float32
        holds the rounded entries too, so the nearest neighbors are sought in float32, with a list so long that by the
        bound of the rounding errors it must hold them all, and only its cosines are computed in float64.

    Args:
        train_features (Array): (n, d), not necessarily normalized.
        train_labels (Array): (n,) class numbers, or (n, classes) of 0 and 1 for several labels each.
        test_features (Array): (m, d).
        k (Sequence[int]): Numbers of neighbors, each clamped to n. Defaults to (200, ).
        temperature (float): ``T``, positive. Defaults to 0.07.
        num_classes (int, optional): Classes. Defaults to None, the highest label + 1.
        chunk (int, optional): Test samples at a time. Defaults to None: as many as fit :data:`MEMORY`.
        across_ranks (bool): Whether the ranks share the work. All must call and get all. Defaults to False.

    Returns:
        dict[int, np.ndarray]: For each ``k`` as asked for, (m, classes) float64: the weighted average of
        the neighbors' labels, one-hot where labels are class numbers. The prediction is its argmax.

    Raises:
        InputError: If features are not finite, shapes do not fit, there is one class, or an option is out of range.
    """
    train, labels, test = torch.as_tensor(train_features), torch.as_tensor(train_labels), torch.as_tensor(test_features)
    num_classes = _check(train, labels, test, k, temperature, num_classes)
    most = min(max(k), len(train))
    if chunk is None:
        # All cosines, and those of the list, with what it takes to choose and to order them.
        chunk = max(1, MEMORY // (20 * len(train) + 40 * _length(most, len(train))))
    if chunk < 1:
        raise InputError(f'the chunk of kNN must be at least 1, got {chunk}')
    targets = labels.cpu()
    train, test = _round(train), _round(test.to(train.device))
    scores = {number: torch.zeros(len(test), num_classes, dtype=torch.float64) for number in k}
    rank, world = (dist.get_rank(), dist.get_world_size()) if across_ranks else (0, 1)
    mine = torch.arange(len(test))[rank::world]
    for part in mine.split(chunk):
        near, nearest = (found.cpu() for found in _nearest(test[part], train, most))
        # Relative to the nearest, so that a small temperature cannot overflow; the ratio is the same.
        weights = ((near - near[:, :1]) / temperature).exp()
        for number in k:
            share = weights[:, :number] / weights[:, :number].sum(1, keepdim=True)
            voted = targets[nearest[:, :number]]
            scores[number][part] = ((share[:, :, None] * voted).sum(1) if targets.dim() == 2 else
                                    share.new_zeros(len(share), num_classes).scatter_add_(1, voted, share))
    if across_ranks:
        for votes in scores.values():
            dist.all_reduce(votes)
    return {number: votes.numpy() for number, votes in scores.items()}


def unit(features: Tensor) -> Tensor:
    """Rows of length 1 in float64, rounded to multiples of 2⁻²⁴; a row of zeros stays one."""
    features = features.double()
    features = features / features.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (features * 2**24).round_() / 2**24


def _round(features: Tensor) -> Tensor:
    """:func:`unit` in float32, which is exact."""
    return torch.cat([unit(part).float() for part in features.split(_ROWS)])


def _nearest(test: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact cosines, float64, and numbers of the ``k`` nearest training samples, both (m, k).

    They descend; of equal ones the first in training order come first.
    """
    length = _length(k, len(train))
    values, columns = _approximate(test, train).topk(length, dim=1)
    columns = columns.sort(1).values
    cosines = _rescore(test, train, columns)
    if length < len(train):
        # A neighbor's approximate cosine is at most twice the error below the k-th of them.
        unsure = (values[:, -1] >= values[:, k - 1] - 2 * _error(train.shape[1])).nonzero()[:, 0]
        if len(unsure):
            rows = test[unsure].double()
            every = torch.cat([rows @ part.double().T for part in train.split(_ROWS)], 1)
            found = _top(every, length)
            columns[unsure], cosines[unsure] = found, every.gather(1, found)
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :k]
    return cosines.gather(1, order), columns.gather(1, order)


def _length(k: int, n: int) -> int:
    """Length of the list that is to hold the ``k`` nearest of ``n``."""
    return min(n, k + max(32, k // 4))


def _rescore(test: Tensor, train: Tensor, columns: Tensor) -> Tensor:
    """Exact cosines, float64, of each test sample with the training samples of its row of ``columns``."""
    cosines = test.new_empty(columns.shape, dtype=torch.float64)
    # Made once: to allocate them for each sample takes longer than the products.
    rows = train.new_empty(columns.shape[1], train.shape[1])
    doubles = rows.double()
    for some, one, found in zip(columns, test.double(), cosines):
        torch.index_select(train, 0, some, out=rows)
        torch.mv(doubles.copy_(rows), one, out=found)
    return cosines


def _approximate(test: Tensor, train: Tensor) -> Tensor:
    """Cosines (m, n) in float32, within :func:`_error` of the exact ones."""
    with _full_precision(test.device.type):
        cosines = test[:, :_COLUMNS] @ train[:, :_COLUMNS].T
        for first in range(_COLUMNS, test.shape[1], _COLUMNS):
            cosines.addmm_(test[:, first:first + _COLUMNS], train[:, first:first + _COLUMNS].T)
    return cosines


def _error(d: int) -> float:
    """Bound of the rounding error of a sum of products, whatever their order (Higham 2002, equation 3.5).

    Columns are summed in parts, which keeps the bound small: by Cauchy's inequality the errors of all parts
    together are at most that of one part whose products sum to 1.
    """
    roundings = min(d, _COLUMNS) + -(-d // _COLUMNS)
    return 1.01 * roundings * 2.0**-24


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """Products in float32 proper, not in TF32, bfloat16 or what autocasting chooses."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _top(values: Tensor, k: int) -> Tensor:
    """Column numbers, ascending, of the ``k`` highest values of each row; of equal ones the first.

    ``torch.topk`` may take any of several equal values, so it only finds the ``k``-th one.
    """
    least = values.topk(k, dim=1).values[:, -1:]
    above, equal = values > least, values == least
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= k - above.sum(1, keepdim=True)))
    return chosen.nonzero()[:, 1].view(len(values), k)


def _check(train: Tensor, labels: Tensor, test: Tensor, k: Sequence[int], temperature: float,
           num_classes: int | None) -> int:
    if train.dim() != 2 or test.dim() != 2 or train.shape[1] != test.shape[1] or not train.numel() or not test.numel():
        raise InputError(f'kNN needs features (n, d) and (m, d) with the same d, got {tuple(train.shape)} for training '
                         f'and {tuple(test.shape)} for test')
    check_labeled(train, labels, 'kNN')
    if not k or min(k) < 1:
        raise InputError(f'the k of kNN must be at least 1, got {tuple(k)}')
    if not temperature > 0:
        raise InputError(f'the temperature of kNN must be positive, got {temperature}')
    check_finite(train, 'training samples')
    check_finite(test, 'test samples')
    if labels.dim() == 1 and labels.unique().numel() < 2:
        raise InputError('kNN needs samples of at least two classes: the training part has one')
    return count_classes(labels, num_classes)
