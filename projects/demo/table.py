"""The table that the demo ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdr_mm.routing import Ranking
from sdr_mm.text_table import markdown_table


@dataclass(frozen=True)
class Line:
    """One line: what was scored, per cent for each task and part of its images, under the title of its block."""

    name: str
    scores: dict[str, list[float]]
    block: str


def choosing(ranking: Ranking) -> Ranking:
    """The ranking on the split that chooses, which is the first one."""
    networks = [replace(network, scores=network.scores[:1]) for network in ranking.networks]
    return Ranking.of(ranking.task, networks, ranking.settings, ranking.cost)


def scoring(scores: Sequence[float]) -> list[float]:
    """The scores of a network on the splits that score, which are all others."""
    return list(scores[1:])


def routed_subnet(ranking: Ranking) -> int:
    """The sub-net that is best on the images that choose, of equals the first."""
    # Not in the order of the ranking, which knows the images that score.
    best = min(ranking.subnets, key=lambda network: (-network.scores[0], network.subnet or 0))
    return best.subnet or 0


def subnet_lines(rankings: Sequence[Ranking], block: str) -> list[Line]:
    """Mean, worst, best and routed sub-net of each task.

    The routed sub-net is the best on the images that choose; worst and best are those on the images that score, so the
    best one is what a perfect choice would have reached.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for ranking in rankings:
        scores = {network.subnet or 0: scoring(network.scores) for network in ranking.subnets}
        every = np.array(list(scores.values()))
        order = every.mean(1).argsort()
        for name, values in {'mean sub-net': every.mean(0), 'worst sub-net': every[order[0]],
                             'best sub-net (chosen in hindsight)': every[order[-1]],
                             'routed sub-net': np.array(scores[routed_subnet(ranking)])}.items():
            found.setdefault(name, {})[ranking.task] = values.tolist()
    return [Line(name, scores, block) for name, scores in found.items()]


def network_lines(rankings: Sequence[Ranking], names: dict[str, str], block: str) -> list[Line]:
    """Other networks, by what the table calls them, scored where the sub-nets are."""
    return [Line(title, {ranking.task: scoring(network.scores) for ranking in rankings
                         if (network := ranking.network(name))}, block) for title, name in names.items()]


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown: mean over the parts of a task's images ± standard error, in per cent, and over tasks."""
    tasks = list(lines[0].scores)
    rows: list[list[str]] = []
    for block in dict.fromkeys(line.block for line in lines):
        rows.append([f'*{block}*', *[''] * (len(tasks) + 1)])
        rows += [[line.name, *(mean_and_error([line.scores[task]]) for task in tasks),
                  mean_and_error([line.scores[task] for task in tasks])] for line in lines if line.block == block]
    return markdown_table(['accuracy in %', *tasks, 'mean'], rows)


def mean_and_error(scores: Sequence[Sequence[float]]) -> str:
    """Mean of the scores ``(task, part)``, and its standard error, as the parts have no image in common."""
    values = np.array(scores)
    error = np.sqrt((values.var(axis=1, ddof=1) / values.shape[1]).sum()) / len(values)
    return f'{values.mean():.1f} ± {error:.1f}'
