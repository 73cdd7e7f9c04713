"""The table that the demo ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdr_mm.routing.result import BASELINE_ROW, SUPERNET_ROW, RoutingResult


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        name (str): What was scored.
        scores (dict[str, list[float]]): For each task, per cent for each split.
        block (str): Lines of a block stand together under this title.
    """

    name: str
    scores: dict[str, list[float]]
    block: str


def subnet_lines(results: Mapping[str, RoutingResult], block: str) -> list[Line]:
    """Mean, worst, best and routed sub-net of each task.

    The routed sub-net of a split is the best on the images that choose, and is scored on those that
    score; worst and best are those of the latter, so the best one is what a perfect choice would have
    reached.

    Args:
        results (Mapping[str, RoutingResult]): A ranking for each task, on the splits of
            :func:`routing_splits`.
        block (str): Title of the block.
    """
    names = ('mean sub-net', 'worst sub-net', 'best sub-net (chosen in hindsight)', 'routed sub-net')
    lines: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for task, result in results.items():
        scores = np.array([row.scores for row in result.subnets])
        _, scoring = np.split(scores, 2, axis=1)
        row_of = {row.subnet: number for number, row in enumerate(result.subnets)}
        routed = scoring[[row_of[subnet] for subnet in routed_subnets(result)], np.arange(scoring.shape[1])]
        for name, values in zip(names, (scoring.mean(0), scoring.min(0), scoring.max(0), routed)):
            lines[name][task] = values.tolist()
    return [Line(name, scores, block) for name, scores in lines.items()]


def routed_subnets(result: RoutingResult) -> list[int]:
    """For each repeat the sub-net that is best on the images that choose."""
    scores = np.array([row.scores for row in result.subnets])
    best = np.split(scores, 2, axis=1)[0].argmax(0)
    return [subnet for subnet in (result.subnets[number].subnet for number in best) if subnet is not None]


def network_lines(results: Mapping[str, RoutingResult], block: str) -> list[Line]:
    """Baseline and super-net of each task, scored where the sub-nets are."""
    lines = []
    for row_name, name in ((BASELINE_ROW, 'SimSiam baseline'), (SUPERNET_ROW, 'super-net')):
        scores = {}
        for task, result in results.items():
            row = result.row(row_name)
            assert row is not None
            scores[task] = row.scores[len(row.scores) // 2:]
        lines.append(Line(name, scores, block))
    return lines


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown: mean over the splits ± standard deviation, in per cent."""
    tasks = list(lines[0].scores)
    head = ['accuracy in %', *tasks]
    rows: list[list[str]] = []
    block = None
    for line in lines:
        if line.block != block:
            block = line.block
            rows.append([f'*{block}*', *[''] * len(tasks)])
        cells = [f'{np.mean(line.scores[task]):.1f} ± {np.std(line.scores[task]):.1f}' for task in tasks]
        rows.append([line.name, *cells])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def text(cells: Sequence[str]) -> str:
        first, *rest = [cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(cells, widths))]
        return f'| {" | ".join([first, *rest])} |'

    first, *others = widths
    rule = '|'.join(['', '-' * (first + 2), *['-' * (width + 1) + ':' for width in others], ''])
    return '\n'.join([text(head), rule, *[text(row) for row in rows]])
