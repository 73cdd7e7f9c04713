"""Weighted cosine kNN (Wu et al. 2018), by which the paper routes (section 4.3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from ..errors import InputError
from .checks import Array, check_finite, check_labeled, count_classes

MEMORY = 256 * 2**20
"""Bytes that one chunk of test samples may take, and about as much again their approximate cosines."""

# A part of the training samples that fits a cache in float64, and rows that fit one with what is made of them.
_ROWS, _COLUMNS, _FEW = 512, 512, 64


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
        comes out the same in any order. The rounding costs less than a float32 product would (about 3e-8). The nearest
        neighbors are sought in the fastest precision of the device, with lists so long that by the bound of the
        rounding errors they must hold them all, and only the cosines of the lists are computed in float64.

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
        # A sample in float64, and the cosines of its list with what it takes to order them.
        chunk = max(1, MEMORY // (8 * train.shape[1] + 40 * _longest(most)))
    if chunk < 1:
        raise InputError(f'the chunk of kNN must be at least 1, got {chunk}')
    targets = labels.cpu()
    train, test = _round(train), _round(test.to(train.device))
    search = _Search(train, most)
    scores = {number: torch.zeros(len(test), num_classes, dtype=torch.float64) for number in k}
    rank, world = (dist.get_rank(), dist.get_world_size()) if across_ranks else (0, 1)
    mine = torch.arange(len(test))[rank::world]
    for part in mine.split(chunk) if len(mine) else ():
        near, nearest = (found.cpu() for found in _nearest(test[part], train, search, most))
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
    norms = features.norm(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float64).tiny)
    return features.div(norms).mul_(2**24).round_().div_(2**24)


def _round(features: Tensor) -> Tensor:
    """:func:`unit` in float32, which is exact."""
    rounded = torch.empty(features.shape, dtype=torch.float32, device=features.device)
    for part, into in zip(features.split(_FEW), rounded.split(_FEW)):  # Few enough rows for a cache.
        into.copy_(unit(part))
    return rounded


class _Coarse(NamedTuple):
    """Rows less a mean in bfloat16, held as float32, with the norms that bound what the rounding costs."""

    rows: Tensor
    norms: Tensor
    residuals: Tensor

    @classmethod
    def of(cls, rows: Tensor, mean: Tensor) -> _Coarse:
        coarse, norms = torch.empty_like(rows), rows.new_empty(2, len(rows))
        for part, into, found in zip(rows.split(_FEW), coarse.split(_FEW), norms.split(_FEW, dim=1)):
            centered = part - mean
            into.copy_(centered.bfloat16())
            torch.linalg.vector_norm(centered, dim=1, out=found[0])
            torch.linalg.vector_norm(centered.sub_(into), dim=1, out=found[1])
        return cls(coarse, *norms)


class _Search:
    """Finds the training samples that may be among the ``k`` nearest of a test sample.

    With ``m`` the mean of the training samples, ``t·x = (t-m)·(x-m) + m·(x-m) + t·m``, whose last term is the same
    for all ``x``. The first is computed from entries in bfloat16, whose products are exact in bfloat16 units, TF32 and
    float32 alike, so that each device takes the fastest it has. Its error is bounded by the norms of what the rounding
    took away (Cauchy's inequality), and is small where all features point in much the same direction.
    """

    def __init__(self, train: Tensor, k: int) -> None:
        self.k = k
        self.mean = train.mean(0)
        self.train = _Coarse.of(train, self.mean)
        with _precision(train.device.type, 'highest'):
            self.offset = torch.cat([(part - self.mean) @ self.mean for part in train.split(_FEW)])
        self.longest, self.residual = self.train.norms.max(), self.train.residuals.max()

    def __call__(self, test: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and columns, ascending, of a matrix (m, n) where the ``k`` nearest are, or where the error hides it.

        A row with more than :func:`_longest` of them has none.
        """
        n, size = len(self.train.rows), max(1, min(16, len(self.train.rows) // (8 * self.k)))
        coarse = _Coarse.of(test, self.mean)
        margin = 2 * self.error(coarse)
        values = test.new_empty(min(len(test), max(1, MEMORY // (8 * n))), n)
        # Wide enough to be read as words of eight, most of which are zero.
        mask = torch.zeros(len(values), -(-n // 8) * 8, dtype=torch.bool, device=test.device)
        for first in range(0, len(test), len(values)):
            rows = coarse.rows[first:first + len(values)]
            found = self.approximate(rows, values[:len(rows)])
            # The k-th highest maximum of groups is at most the k-th highest value, and sooner found.
            groups = found[:, :n // size * size].unflatten(1, (size, -1)).amax(1)
            least = groups.topk(self.k, dim=1, sorted=False).values.amin(1) - margin[first:first + len(rows)]
            torch.ge(found, least[:, None], out=mask[:len(rows), :n])
            words = mask[:len(rows)].view(torch.int64).nonzero()
            word, byte = mask.view(-1, 8)[words[:, 0] * (mask.shape[1] // 8) + words[:, 1]].nonzero().unbind(1)
            row = words[word, 0]
            fits = (torch.bincount(row, minlength=len(rows)) <= _longest(self.k))[row]
            yield row[fits] + first, (words[word, 1] * 8 + byte)[fits]

    def approximate(self, rows: Tensor, out: Tensor) -> Tensor:
        """Cosines (m, n) of the coarse test samples, less ``t·m``, within :meth:`error` of the exact ones."""
        with _precision(rows.device.type, 'medium'):
            return torch.addmm(self.offset, rows, self.train.rows.T, out=out)

    def error(self, test: _Coarse) -> Tensor:
        """Bound (m,) of the error of the approximate cosines.

        Besides the rounding of the entries, that of the sums, whatever their order (Higham 2002, equation 3.5); twice,
        as some units truncate.
        """
        sums = 2 * (len(self.mean) + 2) * 2.0**-24 * (test.norms + self.mean.norm()) * self.longest
        bound: Tensor = 1.01 * (test.residuals * self.longest + test.norms * self.residual + sums)
        return bound


def _nearest(test: Tensor, train: Tensor, search: _Search, k: int) -> tuple[Tensor, Tensor]:
    """Exact cosines, float64, and numbers of the ``k`` nearest training samples, both (m, k).

    They descend; of equal ones the first in training order come first.
    """
    rows, columns = (torch.cat(found) for found in zip(*search(test)))
    counts = torch.bincount(rows, minlength=len(test))
    cosines = test.new_full((len(test), max(k, int(counts.max()))), -torch.inf, dtype=torch.float64)
    numbers = torch.zeros_like(cosines, dtype=torch.int64)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    cosines[rows, place], numbers[rows, place] = _rescore(test, train, rows, columns), columns
    for some in (counts == 0).nonzero()[:, 0].split(max(1, MEMORY // (32 * len(train)))):
        every = torch.cat([test[some].double() @ part.double().T for part in train.split(_ROWS)], 1)
        numbers[some, :k] = _top(every, k)
        cosines[some, :k] = every.gather(1, numbers[some, :k])
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :k]
    return cosines.gather(1, order), numbers.gather(1, order)


def _longest(k: int) -> int:
    """Longest list of candidates for ``k`` neighbors; the cosines of whoever has more are all computed."""
    return 4 * k + 128


def _rescore(test: Tensor, train: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Exact cosines, float64, of test sample ``rows[i]`` with training sample ``columns[i]``; ``rows`` ascend."""
    tiles = columns // _ROWS
    order = tiles.int().argsort(stable=True)
    counts = torch.bincount(tiles * len(test) + rows, minlength=-(-len(train) // _ROWS) * len(test))
    pointers = F.pad(counts.view(-1, len(test)).cumsum(1), (1, 0))
    blocks = [block.double() for block in test.split(_COLUMNS, dim=1)]
    cosines = test.new_empty(len(rows), dtype=torch.float64)
    columns = columns % _ROWS
    for part, pointer, mine in zip(train.split(_ROWS), pointers, order.split(pointers[:, -1].tolist())):
        if not len(mine):
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Sparse', UserWarning)  # That this layout is in beta.
            sums = torch.sparse_csr_tensor(pointer, columns[mine], cosines.new_zeros(len(mine)),
                                           (len(test), len(part)))
        for one, other in zip(blocks, part.split(_COLUMNS, dim=1)):
            sums = torch.sparse.sampled_addmm(sums, one, other.double().T)
        cosines[mine] = sums.values()
    return cosines


@contextmanager
def _precision(device: str, precision: str) -> Iterator[None]:
    """Products of float32 of this precision, whatever was set, and not what autocasting chooses."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
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
