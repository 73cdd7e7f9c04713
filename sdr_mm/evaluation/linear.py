"""Linear evaluation of frozen features: the many-shot protocol of ssl-transfer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ..errors import InputError
from ._logistic import fit_logistic
from .checks import Array, check_finite, check_labeled, count_classes, rows
from .metrics import METRICS
from .task import Split, hold_out

L2_GRID: tuple[float, ...] = tuple(np.logspace(-6, 5, 45).tolist())
"""The l2 weights that the protocol tries, ``1 / C``, in this order."""

SOLVERS = ('torch', 'sklearn')
MAX_ITER = 1000

TOL = 1e-4
"""Entries of the gradient at which a fit ends, scikit-learn's default."""

BALANCE, LAST_BALANCE = 1e-2, 1e-3
"""Gradients, as parts of that of the penalty, at which our fits of the sweep and the last one end."""


@dataclass(frozen=True)
class LinearResult:
    """What a linear probe found.

    Args:
        score (float): On the test images, per cent.
        l2 (float): The weight of the penalty that was chosen.
        val_scores (dict[float, float]): By l2, on the validation images, per cent.
        iterations (dict[float, int]): By l2, the solver's steps, the most of all classes under scikit-learn.
        refit_iterations (int): Of the last fit, on training and validation images.
        unconverged (int): Fits, the last one included, that did not reach their tolerance in 1000 steps.
        seconds (float): Duration.
        test_scores (np.ndarray): (m, classes) float64.
    """

    score: float
    l2: float
    val_scores: dict[float, float]
    iterations: dict[float, int]
    refit_iterations: int
    unconverged: int
    seconds: float
    test_scores: np.ndarray = field(repr=False)


def linear_probe(features: Array, labels: np.ndarray, split: Split, *, metric: str = 'accuracy',
                 num_classes: int | None = None, l2: Sequence[float] = L2_GRID, solver: str = 'torch',
                 tol: float = TOL, groups: np.ndarray | None = None) -> LinearResult:
    """Trains a linear classifier as ssl-transfer does, and scores it.

    For each l2 weight a classifier is fitted to the training images; the first one that is strictly best
    on the validation images wins, and one with its l2 is fitted to both and scored on the test images.
    :func:`fit_logistic` says what is minimized. With several labels for an image there is a fit for each
    class, and one l2 for all of them. Features are taken as they are, not normalized.

    Note:
        A tolerance of the gradient alone means little for a small l2: it is met far from the optimum, at a
        point that depends on where the solver came from. So ``'torch'`` continues until the gradient is also
        small against that of the penalty, and its scores are those of the optima.

    Args:
        features (Array): (n, d) of all images of the task. ``'torch'`` works on their device.
        labels (np.ndarray): (n,) class numbers, or (n, classes) of 0 and 1 for several labels each.
        split (Split): Its ``val`` chooses, or else a fifth of ``train``, as in the protocol (:func:`hold_out`).
        metric (str): Key of :data:`METRICS`. Defaults to 'accuracy'.
        num_classes (int, optional): Classes. Defaults to None, the highest label + 1.
        l2 (Sequence[float]): Weights to try, in this order. Defaults to :data:`L2_GRID`.
        solver (str): ``'torch'``: :func:`fit_logistic`. ``'sklearn'``: the reference, ``LogisticRegression`` on
            one weight after another, each from the last one's solution. Defaults to 'torch'.
        tol (float): Tolerance of the gradient's entries. Defaults to :data:`TOL`.
        groups (np.ndarray, optional): (n,) as in :class:`Task`: the fifth of ``train`` is one of its groups. Defaults
            to None, each image on its own.

    Raises:
        InputError: If features are not finite or all equal, a class has no training image, there is
            nothing to choose or to choose by, or an option is out of range.
    """
    start = time.perf_counter()
    values, labels, grid = torch.as_tensor(features), np.asarray(labels), [float(weight) for weight in l2]
    train, held_out = choosing(split, groups)
    both, test = split.scoring()
    classes = _check(values, labels, train, held_out, both, test, metric, num_classes, grid, solver)
    fits = (_Torch if solver == 'torch' else _ScikitLearn)(values, labels, classes, tol)
    val_scores, iterations, unconverged = {}, {}, 0
    best, chosen = -np.inf, grid[0]
    try:
        for weight, fit in zip(grid, fits(train, held_out, grid, BALANCE)):
            val_scores[weight] = METRICS[metric](fit.scores, labels[held_out])
            iterations[weight] = fit.iterations
            unconverged += not fit.converged
            if val_scores[weight] > best:
                best, chosen = val_scores[weight], weight
    except InputError as error:
        raise InputError(f'l2 cannot be chosen on the {len(held_out)} validation images: {error}') from error
    fit, = fits(both, test, [chosen], LAST_BALANCE)
    score = METRICS[metric](fit.scores, labels[test])
    return LinearResult(score, chosen, val_scores, iterations, fit.iterations, unconverged + (not fit.converged),
                        time.perf_counter() - start, fit.scores)


def choosing(split: Split, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Images that the fits of the sweep are trained on, and the validation images that choose."""
    if split.val is not None:
        return split.train, split.val
    if groups is None:
        return hold_out(split.train)
    held_out = np.isin(groups[split.train], hold_out(np.unique(groups[split.train]))[1])
    return split.train[~held_out], split.train[held_out]


class _Fit(NamedTuple):
    scores: np.ndarray  # (m, classes) of the held-out images
    iterations: int
    converged: bool


class _Torch:
    """Fits by :func:`fit_logistic`."""

    def __init__(self, features: Tensor, labels: np.ndarray, classes: int, tol: float) -> None:
        self.features, self.labels, self.classes, self.tol = features, labels, classes, tol

    def __call__(self, train: np.ndarray, held_out: np.ndarray, l2: Sequence[float], balance: float) -> Iterator[_Fit]:
        """Yields for each l2 weight the fit to ``train``, scored on ``held_out``."""
        present, labels = _present(self.labels[train])
        fit = fit_logistic(rows(self.features, train), labels, l2, tol=self.tol, balance=balance, max_iter=MAX_ITER)
        for scores, iterations, converged in zip(fit.scores(rows(self.features, held_out)), fit.iterations.tolist(),
                                                 fit.converged.tolist()):
            yield _Fit(_spread(scores.cpu().numpy(), present, self.classes), iterations, converged)


class _ScikitLearn(_Torch):
    """Fits by scikit-learn. Two classes get half the l2: they have one weight vector there, not two opposite ones."""

    def __init__(self, features: Tensor, labels: np.ndarray, classes: int, tol: float) -> None:
        super().__init__(features, labels, classes, tol)
        self.models: dict[Any, LogisticRegression] = {}

    def __call__(self, train: np.ndarray, held_out: np.ndarray, l2: Sequence[float], balance: float) -> Iterator[_Fit]:
        features, others = (rows(self.features, part).cpu().double().numpy() for part in (train, held_out))
        present, labels = _present(self.labels[train])
        for weight in l2:
            fits = [self._one((*present, number), features, problem, others, weight)
                    for number, problem in enumerate(labels.T if labels.ndim == 2 else [labels])]
            scores = np.column_stack([fit.scores for fit in fits])
            if labels.ndim == 1 and scores.shape[1] == 1:
                scores = np.column_stack([-scores / 2, scores / 2])
            yield _Fit(_spread(scores, present, self.classes), max(fit.iterations for fit in fits),
                       all(fit.converged for fit in fits))

    def _one(self, key: Any, features: np.ndarray, labels: np.ndarray, held_out: np.ndarray, l2: float) -> _Fit:
        """One fit, from the last one of the same problem if there was any."""
        model = self.models.setdefault(key, LogisticRegression(max_iter=MAX_ITER, tol=self.tol, warm_start=True))
        model.set_params(C=(2 if len(np.unique(labels)) == 2 else 1) / l2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            model.fit(features, labels)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        return _Fit(model.decision_function(held_out), int(model.n_iter_.max()), converged)


def _present(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that occur, and the labels as positions among them. Several labels stay as they are."""
    if labels.ndim == 2:
        return np.arange(labels.shape[1]), labels
    return np.unique(labels, return_inverse=True)


def _spread(scores: np.ndarray, present: np.ndarray, classes: int) -> np.ndarray:
    """Scores for all classes; one without training images is never predicted."""
    if len(present) == classes:
        return scores
    spread = np.full((len(scores), classes), -np.inf)
    spread[:, present] = scores
    return spread


def _check(features: Tensor, labels: np.ndarray, train: np.ndarray, held_out: np.ndarray, both: np.ndarray,
           test: np.ndarray, metric: str, num_classes: int | None, l2: Sequence[float], solver: str) -> int:
    """Refuses what cannot be used, and returns the number of classes."""
    if solver not in SOLVERS:
        raise InputError(f'the solver of a linear probe is one of {", ".join(SOLVERS)}, got {solver!r}')
    if metric not in METRICS:
        raise InputError(f'the metric of a linear probe is one of {", ".join(METRICS)}, got {metric!r}')
    if not l2 or not all(0 < weight < np.inf for weight in l2) or len(set(l2)) != len(l2):
        raise InputError(f'l2 weights must be positive and different numbers, got {l2}')
    check_labeled(features, torch.as_tensor(labels), 'a linear probe')
    if (labels.ndim == 2) != (metric == 'map_11'):
        raise InputError(f'the metric {metric!r} does not fit images that have '
                         f'{"several labels: map_11 does" if labels.ndim == 2 else "one label"}')
    if not len(test):
        raise InputError('a linear probe needs test images, the split has none')
    if not len(held_out) or not len(train):
        raise InputError(f'of {len(both)} training images none can be held out for validation: a linear probe needs '
                         '5 or more, or a split with val')
    used = np.union1d(both, test)
    check_finite(rows(features, used))
    classes = count_classes(torch.as_tensor(labels[used]), num_classes)
    if classes < 2 and labels.ndim == 1:
        raise InputError('the task has one class: a linear probe needs two or more')
    counts = labels[both].sum(0) if labels.ndim == 2 else np.bincount(labels[both], minlength=classes)
    if not counts.all():
        raise InputError(f'class number {counts.argmin()} has no training image: add some, or leave the class out')
    if labels.ndim == 1 and len(np.unique(labels[train])) < 2:
        raise InputError('without the validation images all training images have one class: a linear probe needs more '
                         'images, or a split with val')
    return classes
