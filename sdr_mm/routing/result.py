"""What routing found: the ranks of all networks on one task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic_write

FORMAT = 'sdr_mm routing 2'
SUPERNET_ROW, BASELINE_ROW = 'super-net', 'baseline'


@dataclass(frozen=True)
class RoutingRow:
    """One network on one task.

    Args:
        name (str): ``'sub-net 45'``, ``'super-net'``, ``'baseline'`` or what a candidate is called; other
            networks than sub-nets with ``', own BN'`` if they kept their own statistics while the others
            were reset.
        subnet (int, optional): Index of the sub-net; None for other networks.
        path (list[int], optional): Its path.
        bn (str): What its BN statistics come from: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``.
        scores (list[float]): The score that ranks, one number a split; per cent if it is kNN. Empty for a
            sub-net that a shortcut left out before it had one.
        others (dict[str, list[float]]): Further scores, by name. Defaults to none.
        left (int): 0 for a network that was scored in full; else how early a shortcut left it out, the
            later the lower. Defaults to 0.
        shortlist (float, optional): The last score by which a shortcut chose. Defaults to None.
        gain_baseline (float, optional): Score minus that of the baseline.
        gain_supernet (float, optional): Score minus that of the super-net.
    """

    name: str
    subnet: int | None
    path: list[int] | None
    bn: str
    scores: list[float]
    others: dict[str, list[float]] = field(default_factory=dict)
    left: int = 0
    shortlist: float | None = None
    gain_baseline: float | None = None
    gain_supernet: float | None = None

    @property
    def score(self) -> float:
        """Mean over the splits of the score that ranks; NaN if a shortcut came before it."""
        return float(np.mean(self.scores)) if self.scores else float('nan')

    @property
    def place(self) -> tuple[float, ...]:
        """By what rows are sorted: when they left, then the score that they had there."""
        if self.left and self.shortlist is not None:
            return self.left, -self.shortlist
        return self.left, -self.score


@dataclass(frozen=True)
class Cost:
    """What a ranking took.

    Args:
        passes (float): Images through a network, BN reset included, over all networks and ranks; what
            sub-nets share is counted once, by its share of the multiplications.
        one_by_one (float): The same if each sub-net had run by itself on all images.
        seconds (float): Wall-clock time.
        expected (float): Seconds that were foretold before the start.
    """

    passes: float
    one_by_one: float
    seconds: float
    expected: float


@dataclass(frozen=True)
class RoutingResult:
    """All networks on one task, best first.

    Args:
        task (str): Name of the task.
        rows (list[RoutingRow]): Sorted: networks that were scored in full by their score, of equal ones the
            lower index first; then those that a shortcut left out, the last ones first.
        settings (dict): Everything that determines the scores; ``columns`` names them, the first one ranks.
        cost (Cost): What it took.
        shortcuts (list[str]): What was not done in full, a sentence each. Defaults to none.
        agreement (dict[str, dict[str, float]]): For each score how well it foretells linear accuracy, if
            that was asked for: ``spearman``, ``kendall``, ``regret`` and the number of ``networks``. Defaults to
            none.
    """

    task: str
    rows: list[RoutingRow]
    settings: dict[str, Any]
    cost: Cost
    shortcuts: list[str] = field(default_factory=list)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def from_rows(cls, task: str, rows: Sequence[RoutingRow], settings: dict[str, Any], cost: Cost,
                  shortcuts: Sequence[str] = ()) -> RoutingResult:
        """Ranks ``rows`` and fills in their gains."""
        score = {row.name: row.score for row in rows if row.scores}

        def gain(row: RoutingRow, over: str) -> float | None:
            compared = row.scores and not row.left and over in score and row.name != over
            return _gain(row.score, score[over]) if compared else None

        ranked = [
            replace(row, gain_baseline=gain(row, BASELINE_ROW), gain_supernet=gain(row, SUPERNET_ROW)) for row in rows
        ]
        ranked.sort(key=lambda row: (*row.place, -1 if row.subnet is None else row.subnet, row.name))
        return cls(task, ranked, settings, cost, list(shortcuts))

    @property
    def subnets(self) -> list[RoutingRow]:
        """The sub-nets, best first."""
        return [row for row in self.rows if row.subnet is not None]

    @property
    def best(self) -> RoutingRow:
        """The routed sub-net."""
        return self.subnets[0]

    def row(self, name: str) -> RoutingRow | None:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def scored(self) -> list[RoutingRow]:
        """The sub-nets that were scored in full, best first."""
        return [row for row in self.subnets if not row.left and row.scores]

    def gains(self, over: str = BASELINE_ROW) -> np.ndarray:
        """Gains of the sub-nets that were scored in full over another network, best first, in points.

        Args:
            over (str): ``'baseline'``, ``'super-net'`` or the name of another row. Defaults to 'baseline'.

        Raises:
            InputError: If that network did not take part.
        """
        reference = self.row(over)
        if reference is None:
            raise InputError(f'the routing on {self.task} has no {over} to compare with: route again with --{over}')
        return np.array([_gain(row.score, reference.score) for row in self.scored])

    def table(self, top: int = 10, bottom: int = 3) -> str:
        """The ranks as text.

        Args:
            top (int): Sub-nets from the best down. Defaults to 10.
            bottom (int): Sub-nets from the worst up. Defaults to 3. Other networks are always shown.
        """
        from .result_table import routing_table  # it needs this module
        return routing_table(self, top, bottom)

    def save(self, file: str | Path, overwrite: bool = False) -> None:
        """Writes JSON, whole or not at all.

        Raises:
            InputError: If the file exists and may not be replaced, or the disk is full.
        """
        rows = [dict(asdict(row), score=row.score if row.scores else None) for row in self.rows]
        content = dict(format=FORMAT, task=self.task, settings=self.settings, cost=asdict(self.cost),
                       shortcuts=self.shortcuts, agreement=self.agreement, rows=rows)
        with atomic_write(file, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, file: str | Path) -> RoutingResult:
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: If the file is missing or something else.
        """
        advice = 'give the JSON that tools/route.py --out wrote'
        try:
            content = json.loads(Path(file).read_text(encoding='utf-8'))
            if content['format'] != FORMAT:
                raise KeyError('format')
            rows = [{key: value for key, value in row.items() if key != 'score'} for row in content['rows']]
            return cls(content['task'], [RoutingRow(**row) for row in rows], content['settings'],
                       Cost(**content['cost']), content['shortcuts'], content['agreement'])
        except FileNotFoundError as error:
            raise InputError(f'there is no file {file}: {advice}') from error
        except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
            raise InputError(f'{file} is no result of routing: {advice}') from error


def _gain(score: float, reference: float) -> float:
    # Rounded, so that equal scores gain 0 and not -1e-14, which would count and be drawn as a loss.
    return round(score - reference, 9)
