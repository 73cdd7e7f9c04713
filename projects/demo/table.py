"""The table that the demo ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdr_mm.routing import Ranking
from sdr_mm.text_table import markdown_table


@dataclass(frozen=True)
class Line:
    """One line: what was scored, per cent for each task and division, under the title of its block."""

    name: str
    scores: dict[str, list[float]]
    block: str


def choosing(ranking: Ranking) -> Ranking:
    """The ranking on the splits that choose, which are the first half of them."""
    networks = [replace(network, scores=network.scores[:len(network.scores) // 2]) for network in ranking.networks]
    return Ranking.of(ranking.task, networks, ranking.settings, ranking.cost)


def scoring(scores: Sequence[float]) -> list[float]:
    """The scores of a network on the splits that score, which are the other half."""
    return list(scores[len(scores) // 2:])


def routed_subnets(ranking: Ranking) -> list[int]:
    """For each division of the images the sub-net that is best on those that choose, of equals the first."""
    # Not in the order of the ranking, which knows the images that score.
    scores = {network.subnet: network.scores[:len(network.scores) // 2]
              for network in sorted(ranking.subnets, key=lambda network: network.subnet or 0)}
    return [list(scores)[number] or 0 for number in np.array(list(scores.values())).argmax(0)]


def subnet_lines(rankings: Sequence[Ranking], block: str) -> list[Line]:
    """Mean, worst, best and routed sub-net of each task, whose rankings are on :func:`routing_splits`.

    The routed sub-net of a division is the best on the images that choose, and is scored on those that
    score; worst and best are those of the latter, so the best one is what a perfect choice would have
    reached.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for ranking in rankings:
        scores = {network.subnet: scoring(network.scores) for network in ranking.subnets}
        every = np.array(list(scores.values()))
        routed = np.array([scores[subnet][number] for number, subnet in enumerate(routed_subnets(ranking))])
        for name, values in {'mean sub-net': every.mean(0), 'worst sub-net': every.min(0),
                             'best sub-net (chosen in hindsight)': every.max(0), 'routed sub-net': routed}.items():
            found.setdefault(name, {})[ranking.task] = values.tolist()
    return [Line(name, scores, block) for name, scores in found.items()]


def network_lines(rankings: Sequence[Ranking], names: dict[str, str], block: str) -> list[Line]:
    """Other networks, by what the table calls them, scored where the sub-nets are."""
    return [Line(title, {ranking.task: scoring(network.scores) for ranking in rankings
                         if (network := ranking.network(name))}, block) for title, name in names.items()]


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown: mean over the divisions ± standard deviation, in per cent."""
    tasks = list(lines[0].scores)
    rows: list[list[str]] = []
    for block in dict.fromkeys(line.block for line in lines):
        rows.append([f'*{block}*', *[''] * len(tasks)])
        rows += [[line.name, *(f'{np.mean(line.scores[task]):.1f} ± {np.std(line.scores[task]):.1f}' for task in tasks)]
                 for line in lines if line.block == block]
    return markdown_table(['accuracy in %', *tasks], rows)
