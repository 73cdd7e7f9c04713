"""A table of networks × scores with the paper's numbers beside ours, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_folder
from sdr_mm.text_table import markdown_table

from . import paper

FORMAT = 'sdr_mm table 3'
EVALUATIONS = 'evaluations'
"""The folder for the evaluations of a table, beside its files."""

FILES = ('table.md', 'table.csv', 'table.json')
NUMBERS = ('ours', 'deviation', 'paper', 'difference')


def check_out(folder: str | Path) -> None:
    """Refuses before the work a folder in which no table can be written; changes nothing.

    Raises:
        InputError: If it holds something else, or cannot be written to.
    """
    check_folder(folder)
    folder = Path(folder)
    if folder.is_dir() and not (folder / EVALUATIONS).is_dir() and any(
            file.name not in FILES for file in folder.iterdir()):
        raise InputError(f'{folder} has files in it that are no table: give --out another folder')


def make_entry(ours: float | None, published: float | None, deviation: float | None = None) -> dict[str, Any]:
    """The numbers of a network in a column, each None where there is none."""
    difference = None if ours is None or published is None else ours - published
    return dict(ours=ours, deviation=deviation, paper=published, difference=difference)


def make_row(network: str, source: Any, published: paper.PaperTable, scores: Mapping[str, Mapping[str, Any]],
         average: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that a table has of a network.

    Args:
        network (str): Its name.
        source (Any): What the numbers of ours come from, None if there are none to come.
        published (PaperTable): The paper's.
        scores (Mapping): An :func:`make_entry` by the key of each column.
        average (Mapping, optional): An entry with the number of columns in it, ``tasks``, ``of`` all. Defaults to
            None: the table has no averages.
    """
    compared = any(one['paper'] is not None for one in (*scores.values(), *([average] if average else [])))
    facts = dict(zip(published.facts, published.rows[network].facts)) if compared else {}
    return dict(network=network, source=source, compared=compared, facts=facts, scores=scores, average=average)


def make_table(published: paper.PaperTable, caption: str, columns: Sequence[Mapping[str, Any]],
               lines: Sequence[Mapping[str, Any]], notes: Sequence[str], **more: Any) -> dict[str, Any]:
    """The content of ``table.json``.

    Args:
        published (PaperTable): The paper's.
        caption (str): How our numbers were made.
        columns (Sequence[Mapping]): ``name``, which is its key in a line, ``title`` and ``metric`` of each.
        lines (Sequence[Mapping]): A :func:`make_row` for each network.
        notes (Sequence[str]): Sentences for below the table.
        **more: Further entries.
    """
    compared = any(one['compared'] for one in lines)
    strange = [one['network'] for one in lines if one['network'] not in published.rows]
    apart = f', {paper.SUPERVISED} apart' * any(one['network'] == paper.SUPERVISED for one in lines)
    theirs = f" The paper's numbers are those of its Table {published.number}." * compared
    caption = f'{caption}{theirs} Best of ours bold, second underlined{apart}.'
    lacking = [f"The paper's Table {published.number} has no row {', '.join(strange)}."] * bool(compared and strange)
    return dict(format=FORMAT, paper_table=published.number, caption=caption, **more, facts=list(published.facts),
                columns=list(columns), rows=list(lines), notes=[*lacking, *notes])


def markdown(table: Mapping[str, Any]) -> str:
    """The table as the paper has it, with caption and notes.

    Where the paper has numbers a network has up to three lines: ours, the paper's with what the paper says of the
    network, and the difference. As in the paper, the best of a column is bold and the second underlined, the
    supervised network apart; this is for our numbers, as they are printed.
    """
    compared = any(line['compared'] for line in table['rows'])
    averaged = any(line['average'] for line in table['rows'])
    facts = table['facts'] if compared else []
    titles = [*(column['title'] for column in table['columns']), *['Avg.'] * averaged]
    head = ['network', *facts, *[''] * compared, *titles]
    ranked = [line for line in table['rows'] if line['network'] != paper.SUPERVISED]
    marks = [_marks([entry['ours'] for entry in column]) for column in zip(*map(_entries, ranked))]
    body = []
    for line in table['rows']:
        entries, kinds = _entries(line), {}
        if line['source'] is not None or not line['compared']:
            kinds['ours'] = [_ours(entry, column if line in ranked else {})
                             for entry, column in zip(entries, marks or [{}] * len(entries))]
            if line['average'] and line['source'] is not None and line['average']['ours'] is None:
                kinds['ours'][-1] = f'{line["average"]["tasks"]}/{line["average"]["of"]}'
        if line['compared']:
            kinds['paper'] = [_number(entry['paper']) for entry in entries]
        if any(entry['difference'] is not None for entry in entries):
            kinds['difference'] = [_number(entry['difference'], '+') for entry in entries]
        name = line['network'].replace('|', '\\|')
        for kind, values in kinds.items():
            said = [line['facts'].get(fact, '') if kind == 'paper' else '' for fact in facts]
            body.append([name, *said, *[kind] * compared, *values])
            name = ''
    grid = markdown_table(head, body, left=(0, len(facts) + 1) if compared else (0, ))
    notes = [f'- {note}' for note in table['notes']]
    return '\n'.join([table['caption'], '', grid, *([''] if notes else []), *notes]) + '\n'


def csv_text(table: Mapping[str, Any]) -> str:
    """A line for each network and column, and for each average; numbers to four decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['network', *table['facts'], 'column', 'metric', *NUMBERS])
    columns = [*((column['title'], column['metric']) for column in table['columns']), ('Avg.', None)]
    for line in table['rows']:
        for (title, metric), entry in zip(columns, _entries(line)):
            writer.writerow([line['network'], *(line['facts'].get(fact) for fact in table['facts']), title, metric,
                             *('' if entry[key] is None else f'{entry[key]:.4f}' for key in NUMBERS)])
    return stream.getvalue()


def save_table(table: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes :data:`FILES`, in place of those that are there."""
    files = [Path(folder) / name for name in FILES]
    for file, text in zip(files, (markdown(table), csv_text(table), json.dumps(table, indent=1) + '\n')):
        with atomic_write(file, overwrite=True) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return files


def _entries(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*line['scores'].values(), *[line['average']] * bool(line['average'])]


def _marks(column: Sequence[float | None]) -> dict[str, str]:
    """What to write for the best and the second of the numbers of a column, as they are printed."""
    printed = sorted({round(number, 2) for number in column if number is not None}, reverse=True)
    several = sum(number is not None for number in column) > 1
    return dict(zip(map(_number, printed if several else ()), ('**{}**', '<u>{}</u>')))


def _ours(entry: Mapping[str, Any], marks: Mapping[str, str]) -> str:
    text = _number(entry['ours'])
    spread = '' if entry['deviation'] is None else f' ± {entry["deviation"]:.2f}'
    return marks.get(text, '{}').format(text + spread)


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.2f}'
