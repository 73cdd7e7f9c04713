"""The ranks of a routing as text."""

from __future__ import annotations

import numpy as np

from .result import RoutingResult, RoutingRow
from .scores import LINEAR

TITLES = dict(logme='LogME', h_score='H-score', transrate='TransRate', linear='linear', share='share')


def routing_table(result: RoutingResult, top: int = 10, bottom: int = 3) -> str:
    """The table that :meth:`RoutingResult.table` gives.

    Args:
        result (RoutingResult): The ranking.
        top (int): Sub-nets from the best down. Defaults to 10.
        bottom (int): Sub-nets from the worst up. Defaults to 3.
    """
    columns = result.settings['columns']
    shortlisted = any(row.left for row in result.rows)
    head = ['rank', 'network', 'path', 'BN statistics', *(TITLES.get(name, name) for name in columns)]
    head += ['shortlist'] if shortlisted else []
    with_gains = any(row.gain_baseline is not None or row.gain_supernet is not None for row in result.rows)
    head += ['over baseline', 'over super-net'] if with_gains else []
    rank = {row.name: number for number, row in enumerate(result.subnets, 1)}
    lines, count = [head], len(rank)
    for row in result.rows:
        place = rank.get(row.name)
        if place is not None and top < place <= count - bottom:
            if lines[-1][0] != '…':
                lines.append(['…', f'{max(0, count - top - bottom)} more', *[''] * (len(head) - 2)])
            continue
        path = '' if row.path is None else ','.join(map(str, row.path))
        cells = ['–' if place is None else str(place), row.name, path, row.bn]
        cells += [_score(row, column, first=column == columns[0]) for column in columns]
        if shortlisted:
            cells.append('' if row.shortlist is None else f'{row.shortlist:.4g}')
        lines.append(cells + ([_points(row.gain_baseline), _points(row.gain_supernet)] if with_gains else []))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ['  '.join(cell.ljust(width) if 0 < i < 4 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    text.insert(1, '  '.join('─' * width for width in widths))
    return '\n'.join([_title(result), '', *text, '', *_notes(result)])


def _score(row: RoutingRow, column: str, first: bool) -> str:
    values = row.scores if first else row.others.get(column, [])
    if not values:
        return ''
    percent = column.startswith(('knn', 'linear'))
    deviation = f' ± {np.std(values):.2f}' if len(values) > 1 and percent else ''
    return f'{np.mean(values):.2f}{deviation}' if percent else f'{np.mean(values):.4g}'


def _title(result: RoutingResult) -> str:
    s = result.settings
    splits = f' × {s["splits"]} splits' if s['splits'] > 1 else ''
    images = (f'{s["classes"]} classes, {s["train"]} training and {s["held_out"]} held-out images{splits}'
              if s['classes'] else f'{s["images"]} images without labels')
    knn = ''
    if any(column.startswith('knn') for column in s['columns']):
        k = ', '.join(str(min(k, s['train'])) for k in s['k'])
        knn = f'; kNN {s["metric"]} in %, k = {k}, T = {s["temperature"]}'
    return (f'{result.task}: {images}{knn}; {s["size"]} of {s["resize"]} px, BN reset: {s["bn_reset"]}, '
            f'search: {s["search"]}')


def _notes(result: RoutingResult) -> list[str]:
    notes, s = [], result.settings
    scores = [row.score for row in result.scored]
    if scores:
        notes.append(f'{len(scores)} of {len(result.subnets)} sub-nets scored in full: mean {np.mean(scores):.2f}, '
                     f'best {scores[0]:.2f}, worst {scores[-1]:.2f}')
        if len(result.subnets) > 1:
            notes.append(f'The best of {len(result.subnets)} was chosen on these held-out images, so its score is '
                         f'optimistic: measure it on others.')
    if s['bn_reset'] == 'cluster' and scores:
        notes.append('Sub-nets were reset on their clusters, the others on the whole pool, so gains hold an effect of '
                     'BN statistics: compare with --bn-reset task.')
    if s.get('skipped'):
        notes.append(f'{s["skipped"]} images could not be decoded and were left out.')
    notes += [f'Shortcut: {sentence}' for sentence in result.shortcuts]
    for name, found in result.agreement.items():
        notes.append(f'{TITLES.get(name, name)} against linear accuracy over {found["networks"]:.0f} sub-nets: '
                     f'Spearman {found["spearman"]:.2f}, Kendall {found["kendall"]:.2f}, regret '
                     f'{found["regret"]:.2f} points')
    cost = result.cost
    less = f', {cost.one_by_one / cost.passes:.1f} times fewer than one by one' if cost.one_by_one else ''
    notes.append(f'Cost: {cost.passes:,.0f} images through a network{less}; {duration(cost.seconds)} '
                 f'(expected {duration(cost.expected)}{", linear probes aside" if LINEAR in s["columns"] else ""})')
    return notes


def duration(seconds: float) -> str:
    """Seconds as people say them: ``'48 s'``, ``'3 min 20 s'``, ``'2 h 5 min'``."""
    if seconds < 60:
        return f'{seconds:.0f} s' if seconds >= 10 else f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest} s'
    return f'{minutes // 60} h {minutes % 60} min'


def _points(gain: float | None) -> str:
    return '' if gain is None else f'{gain:+.2f}'
