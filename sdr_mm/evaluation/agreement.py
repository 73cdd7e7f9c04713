"""How far a cheap score agrees with a reference about a set of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import InputError


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's τ_b, which allows for equal values, and Spearman's ρ, each from −1 to 1.

    Both are nan where all scores or all references are the same: no order, nothing to agree with.
    """

    kendall: float
    spearman: float


def rank_correlation(scores: Sequence[float], reference: Sequence[float]) -> RankCorrelation:
    """Rank correlation over networks.

    Args:
        scores (Sequence[float]): Of each network, higher is better.
        reference (Sequence[float]): What they stand for, for example linear accuracy, in the same order.

    Raises:
        InputError: If there are fewer than two networks, the numbers do not match, or one is not finite.
    """
    found, wanted = _check(scores, reference)
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return RankCorrelation(math.nan, math.nan)
    return RankCorrelation(float(stats.kendalltau(found, wanted, variant='b').statistic),
                           float(stats.spearmanr(found, wanted).statistic))


def regret(scores: Sequence[float], reference: Sequence[float]) -> float:
    """What is lost by taking the network of the highest score instead of the best one.

    Several of the highest score have an equal chance of being taken, so that the order of the networks cannot
    matter. Arguments and errors are those of :func:`rank_correlation`; the unit is the reference's.
    """
    found, wanted = _check(scores, reference)
    return float(wanted.max() - wanted[found == found.max()].mean())


def top1_agreement(scores: Sequence[float], reference: Sequence[float]) -> float:
    """Chance that the network of the highest score is the best one; 0 or 1 where no scores are equal."""
    found, wanted = _check(scores, reference)
    return float((wanted[found == found.max()] == wanted.max()).mean())


def _check(scores: Sequence[float], reference: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    found, wanted = np.asarray(scores, dtype=float), np.asarray(reference, dtype=float)
    if found.ndim != 1 or found.shape != wanted.shape or len(found) < 2:
        raise InputError(f'agreement needs a score and a reference for each of two networks or more, got shapes '
                         f'{found.shape} and {wanted.shape}')
    for name, values in (('score', found), ('reference', wanted)):
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            raise InputError(f'the {name} of network number {broken[0]} is {values[broken[0]]}: leave out networks '
                             f'without a finite one')
    return found, wanted
