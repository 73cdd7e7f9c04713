"""Table 1 of the paper with our numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import paper
from .cells import Protocol
from .table_axes import Column, Row
from .table_run import Outcome

FORMAT = 'sdr_mm table 1'
AVERAGE = 'Avg.'


@dataclass(frozen=True)
class Entry:
    """A number of ours and what the paper has there.

    Args:
        ours (float, optional): Per cent, the mean over the splits. None if there is none.
        paper (float, optional): Per cent. None if the paper has no comparable number.
        deviation (float, optional): Standard deviation over the splits. Defaults to None.
    """

    ours: float | None
    paper: float | None
    deviation: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Args:
        name (str): The network.
        epochs (int, optional): Of pre-training, in the paper. None for a row that the paper has not.
        spec (str, optional): What was evaluated.
        entries (list[Entry]): One a task.
        average (Entry): Over the tasks; ours is None unless all of them are there.
        l2 (list[list[float]]): Weights that the linear protocol chose, for each task one a split.
    """

    name: str
    epochs: int | None
    spec: str | None
    entries: list[Entry]
    average: Entry
    l2: list[list[float]]

    @property
    def done(self) -> int:
        """Tasks with a number of ours."""
        return sum(entry.ours is not None for entry in self.entries)


@dataclass(frozen=True)
class Table1:
    """The table.

    Args:
        lines (list[Line]): The rows.
        columns (list[Column]): The tasks.
        protocol (Protocol): How our numbers were made.
        notes (list[str]): Sentences for below the table.
    """

    lines: list[Line]
    columns: list[Column]
    protocol: Protocol
    notes: list[str]

    @classmethod
    def build(cls, rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol,
              outcomes: Sequence[Outcome]) -> Table1:
        """Puts our numbers beside the paper's.

        The paper's numbers are for its eleven tasks, read by configs of their names, under the linear
        protocol. Under kNN the paper has two averages, over all of the eleven with ``k`` = 200.

        Args:
            rows (Sequence[Row]): The networks.
            columns (Sequence[Column]): The tasks.
            protocol (Protocol): How they were scored.
            outcomes (Sequence[Outcome]): What :func:`fill_table` returned.
        """
        found = {(outcome.row, outcome.task): outcome.cell for outcome in outcomes}
        lines = []
        for row in rows:
            entries, chosen = [], []
            reference = paper.TABLE1.get(row.name) if protocol.name == 'linear' else None
            for column in columns:
                cell = found.get((row.name, column.title))
                known = reference.score(column.key) if reference and column.published else None
                entries.append(Entry(None, known) if cell is None else Entry(cell.mean, known, cell.deviation))
                chosen.append([] if cell is None else cell.l2)
            scores = [entry.ours for entry in entries if entry.ours is not None]
            average = Entry(float(np.mean(scores)) if len(scores) == len(columns) else None,
                            _paper_average(row.name, columns, protocol))
            compared = average.paper is not None or any(entry.paper is not None for entry in entries)
            lines.append(Line(row.name, paper.TABLE1[row.name].epochs if compared else None, row.spec, entries, average,
                              chosen))
        return cls(lines, list(columns), protocol, _notes(rows, columns, protocol, outcomes, lines))

    @property
    def compared(self) -> bool:
        """Whether the paper has a number for any cell or average."""
        return any(line.epochs is not None for line in self.lines)

    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        tasks = [dict(name=column.key, title=column.title, error=column.error or None,
                      metric=None if column.task is None else column.task.metric,
                      classes=None if column.task is None else len(column.task.classes),
                      images=None if column.task is None else len(column.task.paths)) for column in self.columns]
        rows = [dict(network=line.name, epochs=line.epochs, spec=line.spec,
                     tasks={column.key: dict(_entry(entry), l2=l2)
                            for column, entry, l2 in zip(self.columns, line.entries, line.l2)},
                     average=dict(_entry(line.average), tasks=line.done, of=len(self.columns))) for line in self.lines]
        return dict(format=FORMAT, settings=self.protocol.settings, tasks=tasks, rows=rows, notes=self.notes)


def _paper_average(name: str, columns: Sequence[Column], protocol: Protocol) -> float | None:
    keys = [column.key if column.published else '' for column in columns]
    if protocol.name == 'linear':
        return paper.TABLE1[name].mean(keys) if name in paper.TABLE1 else None
    return paper.KNN_AVERAGES.get(name) if set(keys) == set(paper.TASKS) and protocol.k == 200 else None


def _notes(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, outcomes: Sequence[Outcome],
           lines: Sequence[Line]) -> list[str]:
    notes = [f'{row.name}: {row.note}.' for row in rows if row.note]
    if any(line.epochs is not None for line in lines):
        strange = [row.name for row in rows if row.name not in paper.TABLE1]
        if strange:
            notes.append(f"The paper's table has no row {', '.join(strange)}.")
        averaged = any(line.average.paper is not None for line in lines)
        if averaged and len(columns) < len(paper.TASKS):
            notes.append("The paper's averages are those of its numbers on the tasks that are shown.")
        if protocol.name == 'knn':
            notes.append("The paper's averages by kNN are those of its table 4.")
    for column in columns:
        cells = [outcome.cell for outcome in outcomes if outcome.task == column.title and outcome.cell is not None]
        skipped = max((cell.skipped for cell in cells), default=0)
        if skipped:
            notes.append(f'{column.title}: {skipped} images could not be decoded and were left out.')
        if protocol.name == 'knn' and cells and cells[0].train < protocol.k:
            notes.append(f'{column.title}: k = {cells[0].train}, the number of training images.')
        if len(cells) > 0 and len(cells[0].scores) > 1:
            notes.append(f'{column.title}: mean ± standard deviation over {len(cells[0].scores)} random splits.')
    notes += [f'{column.title} could not be read: {column.error}' for column in columns if column.error]
    notes += [f'{outcome.row} on {outcome.task}: no result: {outcome.message}' for outcome in outcomes
              if outcome.state == 'failed']
    return notes


def _entry(entry: Entry) -> dict[str, float | None]:
    return dict(ours=entry.ours, deviation=entry.deviation, paper=entry.paper, difference=entry.difference)
