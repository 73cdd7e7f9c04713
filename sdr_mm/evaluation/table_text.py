"""How the table is written: as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ..files import atomic_write
from . import paper
from .table1 import AVERAGE, Entry, Line, Table1

_METRICS = dict(accuracy='accuracy', mean_per_class='mean accuracy of the classes', map_11='11-point mAP')


def markdown(table: Table1) -> str:
    """The table as the paper has it, with caption and notes.

    Where the paper has numbers a network has up to three lines: ours, the paper's and the difference. As in
    the paper, the best of a column is bold and the second underlined, the supervised network apart; this is
    for our numbers, as they are printed.
    """
    titles = [*(column.title for column in table.columns), AVERAGE]
    head = ['network', *(['epochs', ''] if table.compared else []), *titles]
    ranked = [line for line in table.lines if line.name != paper.SUPERVISED]
    columns = zip(*(_entries(line) for line in ranked))
    marks = dict(zip((line.name for line in ranked), zip(*map(_marks, columns))))
    body = []
    for line in table.lines:
        entries = _entries(line)
        ours = [_ours(entry, mark) for entry, mark in zip(entries, marks.get(line.name, [''] * len(entries)))]
        if line.spec is not None and line.average.ours is None:
            ours[-1] = f'{line.done}/{len(table.columns)}'
        blocks = [('ours', ours)] if line.spec is not None or line.epochs is None else []
        if line.epochs is not None:
            blocks.append(('paper', [_number(entry.paper) for entry in entries]))
        if any(entry.difference is not None for entry in entries):
            blocks.append(('difference', [_number(entry.difference, '+') for entry in entries]))
        for number, (kind, values) in enumerate(blocks):
            name = '' if number else line.name.replace('|', '\\|')
            epochs = '' if number or line.epochs is None else str(line.epochs)
            body.append([name, *([epochs, kind] if table.compared else []), *values])
    notes = [f'- {note}' for note in table.notes]
    return '\n'.join([caption(table), '', *_aligned(head, body), *([''] if notes else []), *notes]) + '\n'


def caption(table: Table1) -> str:
    """How our numbers were made."""
    p = table.protocol
    how = (f'kNN, k = {p.k}, T = {p.temperature}' if p.name == 'knn' else
           'linear probe, l2 chosen on validation images')
    titles: dict[str, list[str]] = {}
    for column in table.columns:
        if column.task is not None:
            titles.setdefault(_METRICS[column.task.metric], []).append(column.title)
    metrics = '; '.join(titles if len(titles) < 2 else [f'{name} on {", ".join(on)}' for name, on in titles.items()])
    apart = f', {paper.SUPERVISED} apart' if any(line.name == paper.SUPERVISED for line in table.lines) else ''
    return (f'Frozen networks, {how}; images of short side {p.short_side}, crop {p.size}. '
            f'In per cent{": " * bool(metrics)}{metrics}. Best of ours bold, second underlined{apart}.')


def csv_text(table: Table1) -> str:
    """A line for each network and task, and for each average; numbers to four decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['network', 'epochs', 'task', 'metric', 'ours', 'deviation', 'paper', 'difference'])
    titles = [*(column.title for column in table.columns), AVERAGE]
    metrics = [*('' if column.task is None else column.task.metric for column in table.columns), '']
    for line in table.lines:
        for title, metric, entry in zip(titles, metrics, _entries(line)):
            numbers = (entry.ours, entry.deviation, entry.paper, entry.difference)
            writer.writerow([line.name, line.epochs, title, metric,
                             *('' if number is None else f'{number:.4f}' for number in numbers)])
    return stream.getvalue()


def save_table(table: Table1, folder: str | Path) -> list[Path]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, in place of those that are there."""
    texts = dict(md=markdown(table), csv=csv_text(table), json=json.dumps(table.content(), indent=1) + '\n')
    files = [Path(folder) / f'table.{suffix}' for suffix in texts]
    for file, text in zip(files, texts.values()):
        with atomic_write(file, overwrite=True) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return files


def _entries(line: Line) -> list[Entry]:
    return [*line.entries, line.average]


def _marks(column: Sequence[Entry]) -> list[str]:
    """For each entry of a column ``'best'``, ``'second'`` or nothing, as far as the printed numbers tell."""
    printed = [None if entry.ours is None else round(entry.ours, 2) for entry in column]
    known = [number for number in printed if number is not None]
    names = dict(zip(sorted(set(known), reverse=True), ('best', 'second'))) if len(known) > 1 else {}
    return ['' if number is None else names.get(number, '') for number in printed]


def _ours(entry: Entry, mark: str) -> str:
    text = _number(entry.ours) + ('' if entry.deviation is None else f' ± {entry.deviation:.2f}')
    return dict(best=f'**{text}**', second=f'<u>{text}</u>').get(mark, text)


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.2f}'


def _aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that can be read as text too: names to the left, numbers to the right."""
    left = [title in ('network', '') for title in head]
    widths = [max(3, *(len(line[place]) for line in [head, *body])) for place in range(len(head))]
    lines = [[cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(line, widths, left)]
             for line in [head, *body]]
    lines.insert(1, ['-' * width if to_left else '-' * (width - 1) + ':' for width, to_left in zip(widths, left)])
    return [f'| {" | ".join(line)} |' for line in lines]
