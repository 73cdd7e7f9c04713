"""The picture of a whole routing: for each task what the sub-nets gain and what the best cluster holds (Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..clusters import Clusters
from ..datasets.pool import Pool
from ..errors import InputError
from ..files import check_output
from ..routing.ranking import BASELINE_ROW, Ranking
from .classes import draw_class_mix
from .gain_histogram import draw_gains
from .gallery import GAP, TILE, Files, choose_images, draw_sheet, lay_out, read_tiles, routed_cluster
from .style import QUIET, save_figure, shorten, style

COLUMNS = 4
"""Images beside each other."""


def draw_cluster(axes: Axes, paths: Files, clusters: Clusters, cluster: int, *, count: int = 12, seed: int = 0) -> None:
    """Draws images of a cluster in rows of :data:`COLUMNS`, under its number and size."""
    tiles = read_tiles(paths, choose_images(clusters, cluster, seed), count)
    rows = [tiles[start:start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    draw_sheet(axes, lay_out(rows, COLUMNS))
    axes.set_anchor('NW')
    axes.set_title(f'Cluster {cluster}', pad=19)
    axes.annotate(f'{clusters.sizes()[cluster]:,} images', xy=(0, 1), xytext=(0, 6), xycoords='axes fraction',
                  textcoords='offset points', fontsize=8, color=QUIET)


def routing_report(rankings: Sequence[Ranking], pool: Pool | None, file: str | Path, *,
                   classes: Sequence[str] | None = None, over: str = BASELINE_ROW, count: int = 12, seed: int = 0,
                   overwrite: bool = False) -> None:
    """Writes a row for each task as PNG: histogram of the gains, classes and images of the best cluster.

    Args:
        rankings (Sequence[Ranking]): A ranking for each task.
        pool (Pool, optional): The images of pre-training and their clusters, as ``sdr.pool()`` gives them. None: the
            histograms alone.
        file (str | Path): The picture to write.
        classes (Sequence[str], optional): The class of each image of the pool, see :func:`read_classes`. Defaults to
            None: unknown, and left out.
        over (str): What the gains are over, ``'baseline'`` or ``'super-net'``. Defaults to 'baseline'.
        count (int): Images of a cluster. Defaults to 12.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If there is no ranking, the clusters are those of other sub-nets, the reference took no part in a
            ranking, no image of a cluster can be read, or the file cannot be written.
    """
    check_output(file, overwrite)
    if not rankings:
        raise InputError('a routing report needs the ranking of at least one task')
    head, foot, edge, panel, gap = 0.6, 0.5, 0.55, 4.3, 0.45  # Inches, as all lengths here.
    mix = 1.75 if pool is not None and classes is not None else 0.0
    lines = int(np.ceil(count / COLUMNS))
    images = 0.0 if pool is None else 0.68 * COLUMNS
    sheet = images * (lines * (TILE + GAP) - GAP) / (COLUMNS * (TILE + GAP) - GAP)
    body = max(2.0, sheet - foot)
    each = head + body + foot
    width = edge + panel + (gap + mix if mix else 0) + (gap + images if images else 0) + 0.15
    height = each * len(rankings)
    with style():
        figure = Figure(figsize=(width, height))
        for number, ranking in enumerate(rankings):
            top = height - number * each - head

            def place(left: float, wide: float, high: float, top: float = top) -> tuple[float, float, float, float]:
                return left / width, (top - high) / height, wide / width, high / height

            letter = f'({ascii_lowercase[number]}) ' if 1 < len(rankings) <= len(ascii_lowercase) else ''
            draw_gains(figure.add_axes(place(edge, panel, body)), ranking, over=over,
                       title=letter + shorten(ranking.task))
            if pool is None:
                continue
            if pool.clusters is None:
                raise InputError('the images of clusters need the clusters')
            cluster, left = routed_cluster(ranking, pool.clusters), edge + panel + gap
            if classes is not None:
                members = np.flatnonzero(pool.clusters.assignment == cluster)
                draw_class_mix(figure.add_axes(place(left, mix, body + 0.2)), classes, members)
                left += mix + gap
            draw_cluster(figure.add_axes(place(left, images, sheet)), pool.paths, pool.clusters, cluster, count=count,
                         seed=seed)
        save_figure(figure, file, overwrite=overwrite)
