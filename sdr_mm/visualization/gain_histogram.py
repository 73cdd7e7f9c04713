"""Histogram of the gains of the sub-nets on a task (Fig. 4b of the paper)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..routing.ranking import BASELINE_ROW, SUPERNET_ROW, Ranking
from .style import GAIN, GRID, INK, LOSS, QUIET, ROUTED, SUPERNET, shorten, signed


def gain_bins(gains: np.ndarray, most: int = 24) -> np.ndarray:
    """Edges of equal, round width that cover (n,) gains in points, multiples of 1e-9, in about ``most`` bars.

    0 is one of them, so no bar mixes gain and loss.
    """
    low, high = min(0.0, float(gains.min())), max(0.0, float(gains.max()))
    span = max(high - low, 0.1)
    wanted = span / min(most, max(6, 2 * int(np.sqrt(len(gains)))))
    magnitude = 10.0**np.floor(np.log10(wanted))
    width = next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= wanted * (1 - 1e-9))
    first, last = np.floor(low / width + 1e-12), np.floor(high / width + 1e-9) + 1
    edges: np.ndarray = width * np.arange(first, last + 1)
    return edges


def draw_gains(axes: Axes, ranking: Ranking, *, over: str = BASELINE_ROW, title: str | None = None) -> None:
    """Draws how many sub-nets gain how much over ``'baseline'`` or ``'super-net'``.

    Bars right of 0 are sub-nets at least as good as that reference. An arrow marks the routed one, a dotted line the
    super-net.

    Args:
        axes (Axes): Where to.
        ranking (Ranking): On the task.
        over (str): The reference. Defaults to 'baseline'.
        title (str, optional): Defaults to None, the name of the task.

    Raises:
        InputError: If the reference took no part in the ranking.
    """
    gains = ranking.gains(over)
    reference = ranking.network(over)
    assert reference is not None
    form, score = ('.1f', f'{reference.score:.1f} %') if ranking.unit == 'points' else ('.3g', f'{reference.score:.4g}')
    edges = gain_bins(gains)
    counts, _ = np.histogram(gains, edges)
    width = edges[1] - edges[0]
    colors = [GAIN if left >= -1e-9 else LOSS for left in edges[:-1]]
    axes.bar(edges[:-1] + width / 2, counts, width=0.9 * width, color=colors)
    top = counts.max()
    axes.set_ylim(0, 1.42 * top)
    axes.set_xlim(edges[0] - width / 2, edges[-1] + width / 2)

    axes.axvline(0, ymax=1.1 / 1.42, color=INK, linewidth=1)
    best = float(gains[0])
    supernet = ranking.network(SUPERNET_ROW)
    gain = None if supernet is None or over == SUPERNET_ROW else supernet.score - reference.score
    if gain is not None and edges[0] <= gain <= edges[-1]:
        axes.axvline(gain, ymax=1.22 / 1.42, color=SUPERNET, linewidth=1.2, linestyle=(0, (1, 1.5)))
        # Away from the arrow, unless there is no room between the line and the end of the axis.
        side = -1 if best >= gain else 1
        low, high = axes.get_xlim()
        room = (gain - low if side < 0 else high - gain) / (high - low)
        side = side if room > 0.18 else -side
        axes.annotate('super-net', xy=(gain, 1.22 * top), xytext=(4 * side, 0), textcoords='offset points',
                      fontsize=7.5, color=SUPERNET, va='top', ha='left' if side > 0 else 'right')
    column = int(np.clip(np.searchsorted(edges, best, side='right') - 1, 0, len(counts) - 1))
    axes.annotate('', xy=(best, counts[column] + 0.02 * top), xytext=(best, 1.42 * top),
                  arrowprops=dict(arrowstyle='-|>', color=ROUTED, linewidth=1.2, shrinkA=0, shrinkB=0))
    side = -1 if best > (edges[0] + edges[-1]) / 2 else 1
    axes.annotate(f'routed: {ranking.best.name}, {signed(best, form)}', xy=(best, 1.42 * top), xytext=(5 * side, 0),
                  textcoords='offset points', color=ROUTED, fontsize=8.5, fontweight='bold',
                  ha='left' if side > 0 else 'right', va='top')

    above = int((gains > 0).sum())
    axes.set_title(shorten(ranking.task) if title is None else title, pad=19)
    axes.annotate(f'{shorten(over)} {score} · {above} of {len(gains)} sub-nets above it · '
                  f'mean gain {signed(gains.mean(), form)}', xy=(0, 1), xytext=(0, 6), xycoords='axes fraction',
                  textcoords='offset points', fontsize=8, color=QUIET)
    axes.set_xlabel(f'gain over {shorten(over)}, {ranking.unit}')
    axes.set_ylabel('sub-nets')
    axes.spines['left'].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, 'g'))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
