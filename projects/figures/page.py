"""All figures of a routing in one folder, with a page that shows them."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdr_mm.datasets.pool import Pool
from sdr_mm.files import check_output, place_folder
from sdr_mm.routing import Ranking
from sdr_mm.routing.ranking import BASELINE_ROW
from sdr_mm.visualization import (
    Scores,
    class_mix,
    cluster_gallery,
    gains_matrix,
    routed_rows,
    routing_report,
    score_bars,
    task_gains,
)
from sdr_mm.visualization.classes import percent
from sdr_mm.visualization.gallery import routed_cluster
from sdr_mm.visualization.style import signed

PAGE = 'figures.md'


def write_page(rankings: Sequence[Ranking], out: Path, *, pool: Pool | None = None,
               classes: Sequence[str] | None = None, scores: Scores | None = None, over: str = BASELINE_ROW,
               seed: int = 0, overwrite: bool = False) -> list[str]:
    """Writes a folder with all figures that there is something for, whole or not at all.

    Args:
        rankings (Sequence[Ranking]): Of one checkpoint, one a task.
        out (Path): The folder: :data:`PAGE` and the pictures that it shows.
        pool (Pool, optional): For the images of clusters. Defaults to None, without.
        classes (Sequence[str], optional): Of the images of the pool. Defaults to None, unknown.
        scores (Scores, optional): For the bars. Defaults to None, without.
        over (str): What the gains are over. Defaults to 'baseline'.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether an earlier folder of figures may be replaced. Defaults to False.

    Returns:
        list[str]: Names of the files.

    Raises:
        InputError: If the files do not fit each other, or ``out`` cannot be written.
    """
    check_output(out, overwrite, holds=PAGE)
    matrix = gains_matrix(rankings, over)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{out.name[:32]}-', dir=out.parent))
    try:
        parts = ['# Figures', '']
        if scores is not None:
            score_bars(scores, folder / 'bars.png')
            wins = ', '.join(f'{_plain(name)} {count}' for name, count in zip(scores.networks, scores.best.sum(axis=1)))
            parts += _figure('Scores', 'bars.png', f'Best on so many of {scores.compared.sum()} tasks: {wins}.')
        task_gains(rankings, folder / 'gains.png', over=over)
        parts += _figure('Gains of all sub-nets', 'gains.png', f'{matrix.shape[1]} sub-nets on {len(rankings)} tasks, '
                         f'over {_plain(over)}. A diamond is the sub-net that was routed to, a line the mean.')
        if pool is not None and pool.clusters is not None:
            cluster_gallery(pool, folder / 'clusters.png', rows=routed_rows(rankings, pool.clusters, over), count=4,
                            seed=seed)
            parts += _figure('Clusters of the routed sub-nets', 'clusters.png', 'Four images of each, drawn at random.')
        for number, (ranking, gains) in enumerate(zip(rankings, matrix), 1):
            name = f'task_{number:02d}_{re.sub("[^A-Za-z0-9]+", "-", ranking.task)[:40].strip("-").lower()}.png'
            routing_report([ranking], pool, folder / name, classes=classes, over=over, seed=seed)
            parts += _figure(_plain(ranking.task), name, caption(ranking, gains, pool, classes, over))
        (folder / PAGE).write_text('\n'.join(parts), encoding='utf-8')
        names = sorted(path.name for path in folder.iterdir())
        place_folder(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return names


def caption(ranking: Ranking, gains: np.ndarray, pool: Pool | None, classes: Sequence[str] | None, over: str) -> str:
    """What a figure of one task shows, in words."""
    form = '.2f' if ranking.unit == 'points' else '.3g'
    known = gains[~np.isnan(gains)]
    best, above = signed(ranking.gains(over)[0], form), f'{(known > 0).sum()} of {len(known)}'
    text = (f'Routed to {ranking.best.name}: {best} {ranking.unit} over {_plain(over)}. {above} '
            f'sub-nets are above it, the mean gains {signed(known.mean(), form)}.')
    if pool is None or pool.clusters is None:
        return text
    cluster = routed_cluster(ranking, pool.clusters)
    members = np.flatnonzero(pool.clusters.assignment == cluster)
    text += f' Its cluster {cluster} has {len(members):,} images'
    if classes is not None:
        text += ': ' + ', '.join(f'{_plain(name)} {percent(share)}' for name, share in class_mix(classes, members))
    return text + '.'


def _figure(title: str, file: str, words: str) -> list[str]:
    return [f'## {title}', '', words, '', f'![{title}]({file})', '']


def _plain(name: str) -> str:
    """A name as Markdown shows it as it is."""
    return re.sub(r'([\\`*_{}\[\]<>()#!|&~])', r'\\\1', ' '.join(name.split()))
