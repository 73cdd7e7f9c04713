"""Gains of all sub-nets over tasks, a column of points each (Fig. 4a of the paper)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import InputError
from ..files import check_output
from ..routing.ranking import BASELINE_ROW, Ranking
from .style import GAIN, GRID, INK, LOSS, QUIET, ROUTED, save_figure, shorten, signed, style

ORDERS = ('given', 'mean')


def gains_matrix(rankings: Sequence[Ranking], over: str = BASELINE_ROW) -> np.ndarray:
    """Gains over another network, for each task and sub-net.

    Args:
        rankings (Sequence[Ranking]): Of the same checkpoint, one a task.
        over (str): ``'baseline'``, ``'super-net'`` or the name of another network. Defaults to 'baseline'.

    Returns:
        np.ndarray: (tasks, sub-nets), the sub-nets by their number; NaN for one that a search eliminated.

    Raises:
        InputError: If there is no ranking, two are on one task, of different checkpoints or by different kinds of
            score, or the reference took no part.
    """
    check_alike(rankings)
    columns = {number: column for column, number in enumerate(sorted(_paths(rankings[0])))}
    matrix = np.full((len(rankings), len(columns)), np.nan)
    for row, ranking in zip(matrix, rankings):
        row[[columns[network.subnet] for network in ranking.scored if network.subnet is not None]] = ranking.gains(over)
    return matrix


def check_alike(rankings: Sequence[Ranking]) -> None:
    """Raises an InputError unless these are rankings of the sub-nets of one checkpoint, by one score, one a task."""
    if not rankings:
        raise InputError('a picture of gains needs the ranking of at least one task')
    first = rankings[0]
    twice = [task for task, count in Counter(ranking.task for ranking in rankings).items() if count > 1]
    if twice:
        raise InputError(f'there are two rankings on {twice[0]}: give one a task')
    for ranking in rankings[1:]:
        checkpoints = {one.settings['checkpoint'] for one in (first, ranking) if 'checkpoint' in one.settings}
        if _paths(ranking) != _paths(first) or len(checkpoints) > 1:
            raise InputError(f'the rankings on {first.task} and on {ranking.task} are of different checkpoints: give '
                             'those of one')
        if ranking.unit != first.unit:
            raise InputError(f'the gains on {first.task} are in {first.unit} and those on {ranking.task} in '
                             f'{ranking.unit}: route with the same --scores')


def _paths(ranking: Ranking) -> dict[int, list[int] | None]:
    return {network.subnet: network.path for network in ranking.subnets if network.subnet is not None}


def swarm(values: np.ndarray, most: float) -> np.ndarray:
    """(n,) offsets to the sides by which points of about equal value stand beside each other, as wide as they are many.

    Args:
        values (np.ndarray): (n,) values, in heights of a point.
        most (float): Largest offset, in widths of a point; where it is too small they overlap.
    """
    offsets = np.zeros(len(values))
    for level in np.unique(np.floor(values)):
        here = np.flatnonzero(np.floor(values) == level)
        here = here[np.argsort(values[here], kind='stable')]
        # From the middle outward, to both sides in turn.
        places = np.array([(number + 1) // 2 * (1 - 2 * (number % 2)) for number in range(len(here))])
        offsets[here] = places - places.mean()
    offsets *= min(1.0, most / max(1e-9, np.abs(offsets).max(initial=0)))
    return offsets


def draw_task_gains(axes: Axes, rankings: Sequence[Ranking], *, over: str = BASELINE_ROW, column: float = 0.78,
                    height: float = 2.9) -> None:
    """Draws a column of points for each task, one a sub-net, with its mean and the routed sub-net.

    Points that would overlap stand beside each other, so the width of a ``column`` and the ``height`` of the axes
    have to be known, in inches.

    Raises:
        InputError: As :func:`gains_matrix`.
    """
    matrix = gains_matrix(rankings, over)
    unit = rankings[0].unit
    form = '.1f' if unit == 'points' else '.3g'
    low, high = min(0.0, float(np.nanmin(matrix))), max(0.0, float(np.nanmax(matrix)))
    span = max(high - low, 1e-9)
    axes.set_ylim(low - 0.06 * span, high + 0.13 * span)
    axes.set_xlim(-0.55, len(rankings) - 0.45)
    diameter = 3.4 if matrix.shape[1] > 64 else 5.5  # in points of 1/72 inch
    point_high, point_wide = 1.19 * span / height * diameter / 72, diameter / column / 72  # in units of the axes
    axes.axhline(0, color=INK, linewidth=1, zorder=1)
    for place, (ranking, gains) in enumerate(zip(rankings, matrix)):
        best, *others = ranking.gains(over)
        points = np.array(others)
        colors = np.where(points >= 0, GAIN, LOSS)
        offsets = point_wide * swarm(points / point_high, 0.4 / point_wide)
        axes.scatter(place + offsets, points, s=diameter**2, c=colors, linewidths=0.3, edgecolors='white', zorder=2)
        axes.scatter([place], [np.nanmean(gains)], s=40**2, marker='_', color=INK, linewidths=1.8, zorder=3)
        axes.scatter([place], [best], s=46, marker='D', color=ROUTED, edgecolors='white', linewidths=1, zorder=4)
        axes.annotate(signed(best, form), xy=(place, best), xytext=(0, 7), textcoords='offset points', ha='center',
                      va='bottom', fontsize=8, fontweight='bold', color=ROUTED, zorder=5)
    axes.set_xticks(range(len(rankings)), [shorten(ranking.task) for ranking in rankings])
    axes.tick_params(axis='x', length=0, pad=6)
    axes.set_ylabel(f'gain over {shorten(over)}, {unit}')
    axes.yaxis.set_major_formatter(lambda value, _: signed(value, 'g'))
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.set_title('What the sub-nets gain', pad=19)
    full = int((~np.isnan(matrix)).sum(1).min())
    count = f'{matrix.shape[1]}' if full == matrix.shape[1] else f'{full} or more of {matrix.shape[1]}'
    axes.annotate(f'{count} sub-nets on {len(rankings)} tasks' if len(rankings) > 1 else f'{count} sub-nets',
                  xy=(0, 1), xytext=(0, 6), xycoords='axes fraction', textcoords='offset points', fontsize=8,
                  color=QUIET)
    marks = [Line2D([], [], marker='o', color='none', markerfacecolor=GAIN, markeredgecolor='white', markersize=5),
             Line2D([], [], marker='D', color='none', markerfacecolor=ROUTED, markeredgecolor='white', markersize=7),
             Line2D([], [], color=INK, linewidth=1.8)]
    axes.legend(marks, ['a sub-net', 'the routed one', 'mean'], loc='lower right', bbox_to_anchor=(1, 1), ncols=3,
                frameon=False, fontsize=8, handletextpad=0.4, columnspacing=1.2, borderaxespad=0.2, handlelength=1.2)


def task_gains(rankings: Sequence[Ranking], file: str | Path, *, over: str = BASELINE_ROW, order: str = 'given',
               overwrite: bool = False) -> None:
    """Writes the gains of all sub-nets on all tasks as PNG.

    Args:
        rankings (Sequence[Ranking]): Of the same checkpoint, one a task.
        file (str | Path): The picture to write.
        over (str): What the gains are over. Defaults to 'baseline'.
        order (str): Of the columns: ``'given'``, or by falling ``'mean'`` gain. Defaults to 'given'.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: As :func:`gains_matrix`, or if the file cannot be written.
    """
    check_output(file, overwrite)
    if order not in ORDERS:
        raise InputError(f'the order of the tasks is one of {", ".join(ORDERS)}, got {order!r}')
    if order == 'mean':
        falling = np.argsort(-np.nanmean(gains_matrix(rankings, over), axis=1), kind='stable')
        rankings = [rankings[number] for number in falling]
    with style():
        # A column is as wide as its name, below which all the others are as wide.
        names = max([len(shorten(ranking.task)) for ranking in rankings], default=0)
        height = 2.9
        column = max(0.78, 0.085 * names + 0.1, 4.2 / max(1, len(rankings)))
        figure = Figure(figsize=(0.9 + column * len(rankings), height + 0.9), layout='constrained')
        draw_task_gains(figure.add_subplot(), rankings, over=over, column=column, height=height)
        save_figure(figure, file, overwrite=overwrite)
