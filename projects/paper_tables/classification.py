"""The paper's Tables 1, 3 and 4 with numbers of our own: evaluations of frozen networks on tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdr_mm.evaluation.evaluate import Evaluation, Protocol

from . import paper
from .evaluations import Column, Found
from .rows import Row
from .table import make_entry, make_row, make_table

_METRICS = dict(accuracy='accuracy', mean_per_class='mean accuracy of the classes', map_11='11-point mAP')


def tabulate(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, found: Found,
             published: paper.PaperTable) -> dict[str, Any]:
    """Puts our numbers beside the paper's.

    The paper's numbers are for its eleven tasks, read by configs of their names. Under kNN it has averages only, over
    all of the eleven, with ``k`` = 200; what was scored with another ``k`` stands without them.

    Args:
        rows (Sequence[Row]): The networks.
        columns (Sequence[Column]): The tasks.
        protocol (Protocol): How they were scored.
        found (Found): Our evaluations.
        published (PaperTable): The paper's table by this protocol.

    Returns:
        dict: As :func:`make_table`, with the ``settings`` that all evaluations share.
    """
    known = {key: evaluation for key, evaluation in found.items() if isinstance(evaluation, Evaluation)}
    settings = [evaluation.settings for evaluation in known.values()]
    shared: dict[str, Any] = dict(protocol=protocol.name)
    shared |= {key: settings[0][key] for key in ('resize', 'size', 'k', 'temperature')
               if settings and all(key in one and one[key] == settings[0][key] for one in settings)}
    keys = [column.key if column.published else '' for column in columns]
    lines = []
    for row in rows:
        other_k = any(name == row.name and one.settings.get('k', [200]) != [200] for (name, _), one in known.items())
        reference = None if other_k else published.rows.get(row.name)
        scores = {}
        for column, key in zip(columns, keys):
            own = known.get((row.name, column.key))
            one = make_entry(own.mean if own else None, reference.scores.get(key) if reference else None,
                        own.deviation if own else None)
            scores[column.key] = dict(one, l2=[split['l2'] for split in own.splits] if own else [])
        ours = [one['ours'] for one in scores.values() if one['ours'] is not None]
        average = make_entry(float(np.mean(ours)) if len(ours) == len(columns) else None,
                        reference.mean(keys) if reference else None)
        lines.append(make_row(row.name, row.spec, published, scores, dict(average, tasks=len(ours), of=len(columns))))
    tasks = [dict(name=column.key, title=column.title, error=column.error or None,
                  metric=None if column.task is None else column.task.metric) for column in columns]
    return make_table(published, _caption(shared, tasks), tasks, lines, _notes(rows, columns, found, lines),
                      settings=shared)


def _notes(rows: Sequence[Row], columns: Sequence[Column], found: Found,
           lines: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [f'{row.name}: {row.note}.' for row in rows if row.note]
    if any(line['average']['paper'] is not None for line in lines) and len(columns) < len(paper.TASKS):
        notes.append("The paper's averages are those of its numbers on the tasks that are shown.")
    for column in columns:
        results = {row.name: found[row.name, column.key] for row in rows if (row.name, column.key) in found}
        known = [result for result in results.values() if isinstance(result, Evaluation)]
        skipped = max((one.skipped for one in known), default=0)
        if skipped:
            notes.append(f'{column.title}: {skipped} images could not be decoded and were left out.')
        if any(one.train < one.settings.get('k', [0])[0] for one in known):
            notes.append(f'{column.title}: k = {known[0].train}, the number of training images.')
        if known and known[0].deviation is not None:
            splits = len(next(iter(known[0].scores.values())))
            notes.append(f'{column.title}: mean ± standard deviation over {splits} random splits.')
        notes += [f'{column.title} could not be read: {column.error}'] * bool(column.error)
        notes += [f'{row} on {column.title}: no result: {why}' for row, why in results.items() if isinstance(why, str)]
    return notes


def _caption(settings: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> str:
    """How our numbers were made."""
    how = 'linear probe, l2 chosen on validation images'
    if settings['protocol'] == 'knn':
        k = settings['k'][0] if 'k' in settings else 'what fits each network'
        how = f'kNN, k = {k}' + (f', T = {settings["temperature"]}' if 'temperature' in settings else '')
    images = 'the size that fits each network'
    if {'resize', 'size'} <= {*settings}:
        images = f'short side {settings["resize"]}, crop {settings["size"]}'
    titles: dict[str, list[str]] = {}
    for task in tasks:
        if task['metric'] is not None:
            titles.setdefault(_METRICS[task['metric']], []).append(task['title'])
    metrics = '; '.join(titles if len(titles) < 2 else [f'{name} on {", ".join(on)}' for name, on in titles.items()])
    return f'Frozen networks, {how}; images of {images}. In per cent{": " * bool(metrics)}{metrics}.'
