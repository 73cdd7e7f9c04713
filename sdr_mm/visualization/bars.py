"""Scores of some networks on tasks, bars side by side (Fig. 1b of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..errors import InputError
from ..files import check_output
from .style import GRID, INK, SERIES, save_figure, shorten, style


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores in per cent.

    Args:
        networks (list[str]): Names.
        tasks (list[str]): Names.
        values (np.ndarray): (networks, tasks); NaN where a network was not evaluated.

    Raises:
        InputError: If there is no network or no task.
    """

    networks: list[str]
    tasks: list[str]
    values: np.ndarray

    def __post_init__(self) -> None:
        if not self.networks or not self.tasks:
            raise InputError('a picture of scores needs at least one network and one task')
        assert self.values.shape == (len(self.networks), len(self.tasks)), self.values.shape

    @property
    def compared(self) -> np.ndarray:
        """(tasks,) bool, the tasks on which all networks were evaluated."""
        compared: np.ndarray = ~np.isnan(self.values).any(axis=0)
        return compared

    @property
    def best(self) -> np.ndarray:
        """(networks, tasks) bool, the best of each task that compares all, several where they agree as printed."""
        printed = self.values.round(1)
        best: np.ndarray = (printed == printed.max(axis=0)) & self.compared
        return best

    def of(self, names: list[str]) -> Scores:
        """Those of some networks, in this order.

        Raises:
            InputError: If one is not there.
        """
        missing = [name for name in names if name not in self.networks]
        if missing:
            raise InputError(f'there is no network {missing[0]!r}, only {", ".join(self.networks)}')
        return Scores(names, self.tasks, self.values[[self.networks.index(name) for name in names]])


def draw_scores(axes: Axes, scores: Scores) -> None:
    """Draws a group of bars for each task, one a network, with the value above the best of it.

    Raises:
        InputError: If there are more networks than fills for them.
    """
    count = len(scores.networks)
    if count > len(SERIES):
        raise InputError(f'bars can be told apart for at most {len(SERIES)} networks, here are {count}: choose some '
                         'with --networks')
    width = 0.8 / max(count, 2)
    wins = scores.best.sum(axis=1)
    handles = []
    for row, (name, look) in enumerate(zip(scores.networks, SERIES)):
        places = np.arange(len(scores.tasks)) + (row - (count - 1) / 2) * width
        look = dict(look, edgecolor=INK, linewidth=0.6, hatch_linewidth=0.6)
        axes.bar(places, np.nan_to_num(scores.values[row]), width=0.92 * width, **look)
        for place, value, best in zip(places, scores.values[row], scores.best[row]):
            if best and count > 1:
                axes.annotate(f'{value:.1f}', xy=(place, value), xytext=(0, 3), textcoords='offset points',
                              ha='center', va='bottom', fontsize=7.5, fontweight='bold', color=INK)
        of = f': best on {wins[row]} of {scores.compared.sum()}' if count > 1 else ''
        handles.append(Patch(label=shorten(name) + of, **look))
    high = float(np.nanmax(scores.values)) if not np.isnan(scores.values).all() else 100.0
    axes.set_ylim(0, 1.08 * max(high, 1e-9))
    axes.set_xlim(-0.55, len(scores.tasks) - 0.45)
    axes.set_xticks(range(len(scores.tasks)), [shorten(task) for task in scores.tasks])
    axes.tick_params(axis='x', length=0, pad=5)
    axes.set_ylabel('score, %')
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines['left'].set_visible(False)
    axes.legend(handles=handles, loc='lower left', bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8.5,
                borderaxespad=0.2, handlelength=1.4, columnspacing=1.6)


def score_bars(scores: Scores, file: str | Path, *, overwrite: bool = False) -> None:
    """Writes the scores of some networks on tasks as PNG.

    Raises:
        InputError: If there are more networks than fills for them, or the file cannot be written.
    """
    check_output(file, overwrite)
    with style():
        names = max(len(shorten(task)) for task in scores.tasks)
        column = max(0.2 + 0.21 * max(2, len(scores.networks)), 0.085 * names + 0.1)
        figure = Figure(figsize=(0.8 + max(4.6, column * len(scores.tasks)), 3.2), layout='constrained')
        draw_scores(figure.add_subplot(), scores)
        save_figure(figure, file, overwrite=overwrite)
