"""The ranks of a detection routing as text."""

from __future__ import annotations

from ..routing.result import RoutingResult, RoutingRow
from ..routing.result_table import duration

SHORTLIST_TITLES = dict(label_free='share', knn_crops='kNN on crops')


def detection_table(result: RoutingResult) -> str:
    """The table of a :class:`DetectionRoutingEvaluator`'s result: all networks that were fine-tuned, and notes."""
    s = result.settings
    first = s['shortlist']
    with_gains = any(row.gain_baseline is not None or row.gain_supernet is not None for row in result.rows)
    head = ['rank', 'network', 'path', 'BN statistics', 'AP', 'AP50', 'AP75', 'iterations']
    head += ['over baseline', 'over super-net'] if with_gains else []
    head += [SHORTLIST_TITLES[first]] if first else []
    raced = [row for row in result.rows if row.scores or row.name in s['diverged']]
    rank = {row.name: number for number, row in enumerate((row for row in raced if row.subnet is not None), 1)}
    lines = [head, *(_line(row, rank.get(row.name), with_gains, bool(first)) for row in raced)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ['  '.join(cell.ljust(width) if 0 < number < 4 else cell.rjust(width)
                      for number, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    text.insert(1, '  '.join('─' * width for width in widths))
    title = (f'{result.task}: {s["train"]} images for training, {s["held_out"]} for AP (in %, mean over IoU 0.50:0.95, '
             f'11-point); {s["iters"]} of {s["max_iters"]} iterations of {s["images"]} images, BN reset: '
             f'{s["bn_reset"]}')
    return '\n'.join([title, '', *text, '', *_notes(result)])


def _line(row: RoutingRow, rank: int | None, with_gains: bool, shortlisted: bool) -> list[str]:
    path = '' if row.path is None else ','.join(map(str, row.path))
    cells = ['–' if rank is None else str(rank), row.name, path, row.bn]
    if row.scores:
        values = [row.score, *(row.others[column][0] for column in ('AP50', 'AP75'))]
        cells += [*(f'{value:.2f}' for value in values), f'{row.others["iterations"][0]:.0f}']
    else:
        cells += ['diverged', '', '', '']
    if with_gains:
        cells += ['' if gain is None else f'{gain:+.2f}' for gain in (row.gain_baseline, row.gain_supernet)]
    return cells + ([f'{row.others["shortlist"][0]:.4g}' if 'shortlist' in row.others else ''] if shortlisted else [])


def _notes(result: RoutingResult) -> list[str]:
    s, notes = result.settings, []
    for name, reason in s['diverged'].items():
        notes.append(f'{name} was skipped, it has diverged: {reason}')
    if s['baselines']:
        notes.append(f'baseline: {s["baselines"][0]}')
    if s['candidates'] > 1:
        same = ' The config tests on the same ones.' if s['tested'] else ''
        notes.append(f'The best of {s["candidates"]} was chosen on these {s["held_out"]} images, so its score is '
                     f'optimistic.{same}')
    notes += [f'Shortcut: {sentence}' for sentence in result.shortcuts]
    cost = result.cost
    less = cost.one_by_one / cost.passes if cost.passes else 0
    notes.append(f'Cost: {s["iterations"]:,} iterations, {cost.passes:,.0f} images through a network'
                 + (f', {less:.1f} times fewer than {s["iters"]} iterations of all {s["subnets"]} sub-nets' if less > 1
                    else '') + f'; {duration(cost.seconds)} of device time (expected {duration(cost.expected)})')
    return notes
