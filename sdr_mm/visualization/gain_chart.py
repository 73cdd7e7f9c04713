"""The gain of each sub-net over another network as points with error bars, laid out for a drawing of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..errors import InputError
from ..routing.ranking import BASELINE_ROW, SUPERNET_ROW, RankedNetwork, Ranking
from .style import shorten, signed

LARGEST = 1e9
"""Differences that are drawn; scores are per cent or of that order."""


class Gain(NamedTuple):
    """What a network gains over another one on the same splits.

    Args:
        mean (float): Mean of the differences, in the unit of the score.
        spread (float, optional): Their standard deviation over the splits, as in the table; None for one split.
        wins (int): Splits on which it is above the other one.
        splits (int): All of them.
    """

    mean: float
    spread: float | None
    wins: int
    splits: int


def paired_gain(network: RankedNetwork, reference: RankedNetwork) -> Gain:
    """The gain of one network over another one, split by split; both have scores.

    Raises:
        InputError: If the scores are of no order of size that can be shown.
    """
    differences = np.array([round(one - other, 9) for one, other in zip(network.scores, reference.scores)])
    if not np.abs(differences).max() <= LARGEST:
        raise InputError(f'the scores of {network.name} and {reference.name} are too far apart to be shown')
    spread = float(differences.std()) if len(differences) > 1 else None
    return Gain(round(float(differences.mean()), 9), spread, int((differences > 0).sum()), len(differences))


def gain_text(gain: Gain, form: str) -> str:
    """As ``'+5.22 ± 1.77'``."""
    return signed(gain.mean, form) + ('' if gain.spread is None else f' ± {gain.spread:{form}}')


def reference_of(ranking: Ranking) -> RankedNetwork | None:
    """What gains are over: the baseline, or else the super-net; None without either, or without scores."""
    known = [ranking.network(name) for name in (BASELINE_ROW, SUPERNET_ROW)]
    return next((network for network in known if network is not None and network.scores and ranking.scored), None)


@dataclass(frozen=True)
class Mark:
    """A sub-net: its point, the ends of its error bar, what it is and what is said about it."""

    x: float
    y: float
    high: float
    low: float
    kind: str
    title: str


@dataclass(frozen=True)
class Line:
    """A network as a level line, with its name at ``label``."""

    y: float
    label: float
    kind: str
    name: str


@dataclass(frozen=True)
class Chart:
    """Where everything is, in pixels of a drawing of ``width`` × ``height``.

    Args:
        width (int): Of the drawing.
        height (int): The same.
        left (float): Where the axes begin; they end at ``right``, ``top`` and ``bottom``.
        right (float): The same.
        top (float): The same.
        bottom (float): The same.
        step (float): Room of a sub-net.
        radius (float): Of a point.
        marks (list[Mark]): The sub-nets that were scored in full, best first.
        levels (list[tuple[float, str]]): Height and text of the marks of the axis of gains.
        places (list[tuple[float, str]]): The same of the other axis.
        axis (str): What stands along the other axis.
        lines (list[Line]): The reference, and the super-net beside a baseline.
    """

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    step: float
    radius: float
    marks: list[Mark]
    levels: list[tuple[float, str]]
    places: list[tuple[float, str]]
    axis: str
    lines: list[Line]


def gain_chart(ranking: Ranking, reference: RankedNetwork, width: int, height: int, *, margin: float = 84) -> Chart:
    """Lays out the gains of the sub-nets that were scored in full over ``reference``.

    Args:
        ranking (Ranking): With such sub-nets.
        reference (RankedNetwork): One of its networks, with scores.
        width (int): Of the drawing in pixels.
        height (int): The same.
        margin (float): Room for the names of lines at the right. Defaults to 84.

    Raises:
        InputError: If the scores are of no order of size that can be shown.
    """
    form = gain_form(ranking)
    left, right, top, bottom = 46.0, width - margin, 30.0, height - 42.0
    gains = [paired_gain(network, reference) for network in ranking.scored]
    supernet = ranking.network(SUPERNET_ROW)
    lines = [(0.0, 'reference', reference.name)]
    if supernet is not None and supernet is not reference and supernet.scores:
        lines.append((paired_gain(supernet, reference).mean, 'supernet', supernet.name))
    ends = [gain.mean + sign * (gain.spread or 0) for gain in gains for sign in (-1, 1)] + [line[0] for line in lines]
    low, high = min(ends), max(ends)
    low, high = (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
    levels = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    low, high = min(low, levels[0]), max(high, levels[-1])

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    step = (right - left) / len(gains)
    marks = []
    for place, (network, gain) in enumerate(zip(ranking.scored, gains)):
        kind = 'routed' if place == 0 else 'gain' if gain.mean >= 0 else 'loss'
        path = ','.join(map(str, network.path or ()))
        marks.append(Mark(left + (place + 0.5) * step, y(gain.mean), y(gain.mean + (gain.spread or 0)),
                          y(gain.mean - (gain.spread or 0)), kind,
                          f'{network.name}, path {path}, rank {place + 1}: {gain_text(gain, form)} {ranking.unit} over '
                          f'{reference.name}'))
    named = step >= 22
    texts = [str(network.subnet) if named else str(place) for place, network in enumerate(ranking.scored, 1)]
    shown = range(len(marks)) if named else [place - 1 for place in _ranks(len(marks), (right - left) / 50)]
    return Chart(width, height, left, right, top, bottom, step, max(1.2, min(4.5, 0.3 * step)), marks,
                 [(y(level), signed(level, 'g')) for level in levels],
                 [(marks[place].x, texts[place]) for place in shown],
                 'number of the sub-net, best first' if named else 'rank of the sub-net',
                 _labeled([(y(value), kind, shorten(name, 13)) for value, kind, name in lines]))


def gain_form(ranking: Ranking) -> str:
    """The format of gains."""
    return '.2f' if ranking.unit == 'points' else '.3g'


def _ranks(count: int, most: float) -> list[int]:
    """The first rank, and round ones away from it, about ``most`` of them."""
    every = next(step for scale in (1, 10, 100, 1000, 10_000, 10**9) for step in (scale, 2 * scale, 5 * scale)
                 if count / step <= max(most, 1))
    return [1, *(rank for rank in range(every, count + 1, every) if rank - 1 >= 0.75 * every)]


def _labeled(lines: Sequence[tuple[float, str, str]], room: float = 15) -> list[Line]:
    """The lines with names that do not lie on each other."""
    labels = [line[0] for line in lines]
    if len(lines) == 2 and abs(labels[0] - labels[1]) < room:
        middle, side = sum(labels) / 2, 1 if labels[0] >= labels[1] else -1
        labels = [middle + side * room / 2, middle - side * room / 2]
    return [Line(y, label, kind, name) for (y, kind, name), label in zip(lines, labels)]
