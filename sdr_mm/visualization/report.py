"""The picture of a whole routing: what the best clusters hold, and what the sub-nets gain on each task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..clusters import Clusters
from ..errors import InputError
from ..files import check_output
from ..routing.ranking import BASELINE_ROW, Ranking
from .gain_histogram import draw_gains, signed
from .gallery import ROW, Files, GalleryRow, draw_gallery
from .style import save_figure, style


def report_rows(rankings: Sequence[Ranking], clusters: Clusters, count: int, over: str) -> list[GalleryRow]:
    """Clusters to show: all that tasks were routed to, with the gains, then the next best until there are ``count``."""
    cluster_of = {int(subnet): cluster for cluster, subnet in enumerate(clusters.subnets)}
    routed: dict[int, list[str]] = {}
    for ranking in rankings:
        subnet = ranking.best.subnet
        assert subnet is not None
        gain = ranking.gains(over)[0]
        routed.setdefault(cluster_of[subnet], []).append(f'{ranking.task} {signed(gain)}')
    rows = [GalleryRow(cluster, tuple(notes)) for cluster, notes in routed.items()]
    ranks = [{network.subnet: rank for rank, network in enumerate(ranking.subnets)} for ranking in rankings]
    others = sorted((subnet for subnet in cluster_of if cluster_of[subnet] not in routed),
                    key=lambda subnet: (np.mean([rank[subnet] for rank in ranks]), subnet))
    return rows + [GalleryRow(cluster_of[subnet]) for subnet in others[:max(0, count - len(rows))]]


def routing_report(rankings: Sequence[Ranking], paths: Files, clusters: Clusters, file: str | Path, *,
                   over: str = BASELINE_ROW, rows: int | None = None, count: int = 8, seed: int = 0,
                   overwrite: bool = False) -> None:
    """Writes a gallery of clusters beside the histograms of gains as PNG.

    Args:
        rankings (Sequence[Ranking]): A ranking for each task.
        paths (Sequence[str | PathLike]): Images of pre-training, in the order of the data set.
        clusters (Clusters): Their clusters.
        file (str | Path): The picture to write.
        over (str): What the gains are over, ``'baseline'`` or ``'super-net'``. Defaults to 'baseline'.
        rows (int, optional): Most clusters, best first; the routed ones are shown in any case. Defaults to None: as
            many as stand beside the histograms.
        count (int): Images of a cluster. Defaults to 8.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If there is no ranking, the clusters are of another space, the reference took no part in a ranking,
            or the file cannot be written.
    """
    check_output(file, overwrite)
    if not rankings:
        raise InputError('a routing report needs the ranking of at least one task')
    for ranking in rankings:
        if sorted(network.subnet or 0 for network in ranking.subnets) != sorted(clusters.subnets.tolist()):
            raise InputError(f'the routing on {ranking.task} ranks {len(ranking.subnets)} sub-nets, but there are '
                             f'{clusters.num_clusters} clusters: give the clusters of the same training')
    label, head, foot, gap, panel = 1.75, 0.55, 0.5, 0.85, 4.3  # Inches, as all lengths here.
    each = 2.6 if len(rankings) > 1 else 3.4
    if rows is None:
        rows = max(1, int((len(rankings) * each - head) / ROW))
    chosen = report_rows(rankings, clusters, rows, over)
    height = max(len(rankings) * each, head + ROW * len(chosen) + 0.15)
    each = height / len(rankings)
    width = label + ROW * count + gap + panel + 0.15
    with style():
        figure = Figure(figsize=(width, height))
        images = ROW * len(chosen)
        axes = figure.add_axes((label / width, 1 - (head + images) / height, ROW * count / width, images / height))
        draw_gallery(axes, paths, clusters, chosen, count=count, seed=seed, title='What the best clusters hold')
        for number, ranking in enumerate(rankings):
            axes = figure.add_axes(((width - panel - 0.15) / width, 1 - ((number + 1) * each - foot) / height,
                                    panel / width, (each - head - foot) / height))
            draw_gains(axes, ranking, over=over)
        save_figure(figure, file, overwrite=overwrite)
