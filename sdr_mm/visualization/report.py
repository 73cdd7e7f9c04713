"""The picture of a whole routing: what the best clusters hold, and what the sub-nets gain on each task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np
from matplotlib.figure import Figure

from ..clustering.clusters import Clusters
from ..errors import InputError
from ..routing.result import BASELINE_ROW, RoutingResult
from .gain_histogram import draw_gains
from .gallery import Files, GalleryRow, draw_gallery
from .style import save_figure, style


def report_rows(results: Sequence[RoutingResult], clusters: Clusters, count: int, over: str) -> list[GalleryRow]:
    """The clusters to show: first the one that was routed to for each task, then the next best ones.

    Args:
        results (Sequence[RoutingResult]): A ranking for each task.
        clusters (Clusters): Of pre-training.
        count (int): Most clusters; the routed ones are shown in any case.
        over (str): Whose gains are noted.
    """
    cluster_of = {int(subnet): cluster for cluster, subnet in enumerate(clusters.subnets)}
    routed: dict[int, list[str]] = {}
    for result in results:
        subnet = result.best.subnet
        assert subnet is not None
        gain = result.gains(over)[0]
        routed.setdefault(cluster_of[subnet], []).append(f'{result.task} {gain:+.1f}')
    rows = [
        GalleryRow(cluster, f'cluster {cluster}', 'best: ' + ', '.join(notes), marked=True)
        for cluster, notes in routed.items()
    ]
    ranks = [{row.subnet: rank for rank, row in enumerate(result.subnets)} for result in results]
    others = sorted((subnet for subnet in cluster_of if cluster_of[subnet] not in routed),
                    key=lambda subnet: (np.mean([rank[subnet] for rank in ranks]), subnet))
    rows += [GalleryRow(cluster_of[subnet], f'cluster {cluster_of[subnet]}')
             for subnet in others[:max(0, count - len(rows))]]
    return rows


def routing_report(results: Sequence[RoutingResult], paths: Files, clusters: Clusters, file: Union[str, Path], *,
                   over: str = BASELINE_ROW, rows: int = 8, count: int = 8, seed: int = 0,
                   overwrite: bool = False) -> None:
    """Writes a gallery of clusters beside the histograms of gains as PNG.

    Args:
        results (Sequence[RoutingResult]): A ranking for each task.
        paths (Sequence[str | PathLike]): Images of pre-training, in the order of the data set.
        clusters (Clusters): Their clusters.
        file (str | Path): The picture to write.
        over (str): What the gains are over, ``'baseline'`` or ``'super-net'``. Defaults to 'baseline'.
        rows (int): Most clusters, best first; the routed ones are shown in any case. Defaults to 8.
        count (int): Images of a cluster. Defaults to 8.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If there is no ranking, the reference took no part in one, or the file cannot be
            written.
    """
    if not results:
        raise InputError('a routing report needs the ranking of at least one task')
    chosen = report_rows(results, clusters, rows, over)
    with style():
        height = max(0.62 * len(chosen) + 0.6, 2.3 * len(results))
        figure = Figure(figsize=(1.8 + 0.62 * count + 4.4, height), layout='constrained')
        left, right = figure.subfigures(1, 2, width_ratios=[1.8 + 0.62 * count, 4.4], wspace=0.03)
        draw_gallery(left, paths, clusters, chosen, count=count, seed=seed, title='What the clusters hold')
        panels = right.subplots(len(results), 1, squeeze=False)[:, 0]
        for axes, result in zip(panels, results):
            draw_gains(axes, result, over=over)
            axes.set_xlabel('')
        panels[-1].set_xlabel(f'gain over {over}, points')
        save_figure(figure, file, overwrite=overwrite)
