"""What routing found: the ranks of all networks on one task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from ..errors import InputError
from ..files import atomic_write

FORMAT = 'sdr_mm routing 1'
SUPERNET_ROW, BASELINE_ROW = 'super-net', 'baseline'


@dataclass(frozen=True)
class RoutingRow:
    """One network on one task.

    Args:
        name (str): ``'sub-net 45'``, ``'super-net'``, ``'baseline'``; the latter two with ``', own BN'`` if
            they kept their own statistics while the others were reset.
        subnet (int, optional): Index of the sub-net; None for other networks.
        path (list[int], optional): Its path.
        bn (str): What its BN statistics come from: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``.
        scores (list[float]): Per cent, one for each split.
        gain_baseline (float, optional): Score minus that of the baseline, in points.
        gain_supernet (float, optional): Score minus that of the super-net, in points.
    """

    name: str
    subnet: Optional[int]
    path: Optional[list[int]]
    bn: str
    scores: list[float]
    gain_baseline: Optional[float] = None
    gain_supernet: Optional[float] = None

    @property
    def score(self) -> float:
        """Mean over the splits, in per cent."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class RoutingResult:
    """All networks on one task, best first.

    Args:
        task (str): Name of the task.
        rows (list[RoutingRow]): Sorted by score, of equal ones the lower index first.
        settings (dict): Everything that determines the scores.
        seconds (float): Wall-clock time of the ranking.
        images (int): Forward passes of one image, over all networks and ranks, BN reset included.
    """

    task: str
    rows: list[RoutingRow]
    settings: dict[str, Any]
    seconds: float
    images: int

    @classmethod
    def from_rows(cls, task: str, rows: Sequence[RoutingRow], settings: dict[str, Any], seconds: float,
                  images: int) -> RoutingResult:
        """Ranks ``rows`` and fills in their gains."""
        score = {row.name: row.score for row in rows}

        def gain(row: RoutingRow, over: str) -> Optional[float]:
            return _gain(row.score, score[over]) if over in score and row.name != over else None

        ranked = [
            replace(row, gain_baseline=gain(row, BASELINE_ROW), gain_supernet=gain(row, SUPERNET_ROW)) for row in rows
        ]
        ranked.sort(key=lambda row: (-row.score, -1 if row.subnet is None else row.subnet, row.name))
        return cls(task, ranked, settings, seconds, images)

    @property
    def subnets(self) -> list[RoutingRow]:
        """The sub-nets, best first."""
        return [row for row in self.rows if row.subnet is not None]

    @property
    def best(self) -> RoutingRow:
        """The routed sub-net."""
        return self.subnets[0]

    def row(self, name: str) -> Optional[RoutingRow]:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    def gains(self, over: str = BASELINE_ROW) -> np.ndarray:
        """Gains of the sub-nets over ``'baseline'`` or ``'super-net'``, best first, in points.

        Raises:
            InputError: If that network did not take part.
        """
        reference = self.row(over)
        if reference is None:
            raise InputError(f'the routing on {self.task} has no {over} to compare with: route again with --{over}')
        return np.array([_gain(row.score, reference.score) for row in self.subnets])

    def table(self, top: int = 10, bottom: int = 3) -> str:
        """The ranks as text.

        Args:
            top (int): Sub-nets from the best down. Defaults to 10.
            bottom (int): Sub-nets from the worst up. Defaults to 3. Other networks are always shown.
        """
        count = len(self.subnets)
        rank = {row.name: number for number, row in enumerate(self.subnets, 1)}
        lines = [('rank', 'network', 'path', 'BN statistics', 'score', 'over baseline', 'over super-net')]
        gap = False
        for row in self.rows:
            place = rank.get(row.name)
            if place is not None and top < place <= count - bottom:
                if not gap:
                    lines.append(('…', f'{max(0, count - top - bottom)} more', '', '', '', '', ''))
                gap = True
                continue
            deviation = f' ± {np.std(row.scores):.2f}' if len(row.scores) > 1 else ''
            path = '' if row.path is None else ','.join(map(str, row.path))
            lines.append(('–' if place is None else str(place), row.name, path, row.bn, f'{row.score:.2f}{deviation}',
                          _points(row.gain_baseline), _points(row.gain_supernet)))
        width = [max(len(line[column]) for line in lines) for column in range(7)]
        text = ['  '.join(cell.ljust(w) if 0 < i < 4 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, width)))
                for line in lines]
        text.insert(1, '  '.join('─' * w for w in width))
        return '\n'.join([self._title(), '', *[line.rstrip() for line in text], '', *self._notes()])

    def _title(self) -> str:
        s = self.settings
        splits = f' × {s["splits"]} splits' if s['splits'] > 1 else ''
        return (f'{self.task}: {s["classes"]} classes, {s["train"]} training and {s["test"]} test images{splits}; kNN '
                f'{s["metric"]} in %, k = {min(s["k"], s["train"])}, T = {s["temperature"]}, {s["size"]} of '
                f'{s["resize"]} px, BN reset: {s["bn_reset"]}')

    def _notes(self) -> list[str]:
        scores = [row.score for row in self.subnets]
        notes = []
        notes.append(f'{len(scores)} sub-nets: mean {np.mean(scores):.2f}, best {scores[0]:.2f}, worst '
                     f'{scores[-1]:.2f}; {self.images} images through a network in {self.seconds:.0f} s')
        if len(scores) > 1:
            notes.append(f'The best of {len(scores)} was chosen on these test images, so its score is optimistic: '
                         f'measure it on others.')
        if self.settings['bn_reset'] == 'cluster':
            notes.append('Sub-nets were reset on their clusters, the others on the whole pool, so gains hold an effect '
                         'of BN statistics: compare with --bn-reset task.')
        if self.settings.get('skipped'):
            notes.append(f'{self.settings["skipped"]} images could not be decoded and were left out.')
        return notes

    def save(self, file: Union[str, Path], overwrite: bool = False) -> None:
        """Writes JSON, whole or not at all.

        Raises:
            InputError: If the file exists and may not be replaced, or the disk is full.
        """
        rows = [dict(asdict(row), score=row.score) for row in self.rows]
        content = dict(format=FORMAT, task=self.task, settings=self.settings, seconds=round(self.seconds, 3),
                       images=self.images, rows=rows)
        with atomic_write(file, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, file: Union[str, Path]) -> RoutingResult:
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
            return cls(content['task'], [RoutingRow(**row) for row in rows], content['settings'], content['seconds'],
                       content['images'])
        except FileNotFoundError as error:
            raise InputError(f'there is no file {file}: {advice}') from error
        except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
            raise InputError(f'{file} is no result of routing: {advice}') from error


def _gain(score: float, reference: float) -> float:
    # Rounded, so that equal scores gain 0 and not -1e-14, which would count and be drawn as a loss.
    return round(score - reference, 9)


def _points(gain: Optional[float]) -> str:
    return '' if gain is None else f'{gain:+.2f}'
