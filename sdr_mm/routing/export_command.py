"""The command that takes the best sub-net of a ranking home."""

from __future__ import annotations

import shlex
from pathlib import Path

from .ranking import Ranking


def export_command(ranking: Ranking, checkpoint: str | Path, *, routing: str | Path | None = None,
                   task: str | Path | None = None, data: str | Path | None = None,
                   clusters: str | Path | None = None) -> str:
    """A line for a shell, quoted as it needs.

    Args:
        ranking (Ranking): Of the sub-nets of ``checkpoint``.
        checkpoint (str | Path): As it was given.
        routing (str | Path, optional): The file that the ranking was saved to, which knows how the BN statistics are
            measured. Defaults to None: nowhere, and the line says it.
        task (str | Path, optional): The task, as it was given. Defaults to None: as the ranking names it.
        data (str | Path, optional): The images of pre-training, if they were given. Defaults to None.
        clusters (str | Path, optional): The clusters, if they were given. Defaults to None.
    """
    best, settings = ranking.best, ranking.settings
    words = ['python', 'tools/export_subnet.py', str(checkpoint)]
    if routing is not None:
        words += ['--routing', str(routing)]
    else:
        words += ['--subnet', str(best.subnet), '--bn-reset', settings['bn_reset']]
        for name in ('resize', 'size', 'bn_images', 'batch_size', 'seed'):
            if name in settings:
                words += [f'--{name.replace("_", "-")}', str(settings[name])]
        task = task or (settings.get('task') or {}).get('source')
    if task is not None and settings['bn_reset'] == 'task':
        words += ['--task', str(task)]
    if settings['bn_reset'] in ('cluster', 'all'):
        words += ['--data', str(data)] * (data is not None) + ['--clusters', str(clusters)] * (clusters is not None)
    return shlex.join([*words, '--out', f'sub-net_{best.subnet}.pth'])
