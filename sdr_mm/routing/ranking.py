"""What routing found: the ranks of all networks on one task, as a file and as a table."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..records import build, check, read_json
from ..space import SubnetSpace
from ..text_table import duration, html_table, text_table

if TYPE_CHECKING:
    from ..evaluation.task import Task

FORMAT = 'sdr_mm routing 3'
SUPERNET_ROW, BASELINE_ROW = 'super-net', 'baseline'
LINEAR = 'linear'
TITLES = dict(logme='LogME', h_score='H-score', transrate='TransRate')


@dataclass(frozen=True)
class RankedNetwork:
    """One network on one task.

    Args:
        name (str): ``'sub-net 45'``, ``'super-net'``, ``'baseline'`` or what a candidate is called; other
            networks than sub-nets with ``', own BN'`` if they kept their own statistics while the others
            were reset.
        subnet (int, optional): Index of the sub-net; None for other networks.
        path (list[int], optional): Its path.
        bn (str): What its BN statistics come from: ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``.
        scores (list[float]): The score that ranks, one number a split; per cent if it is kNN. Empty for a
            sub-net that a search eliminated before it had one.
        others (dict[str, list[float]]): Further scores, by name. Defaults to none.
        eliminated (int): 0 for a network that was scored in full; else how early a search eliminated it, the
            later the lower. Defaults to 0.
        screening (float, optional): The last score by which a search chose. Defaults to None.
        gain_baseline (float, optional): Score minus that of the baseline.
        gain_supernet (float, optional): Score minus that of the super-net.
        ranking (Ranking, optional): The ranking that it belongs to, which knows how it was scored.
    """

    name: str
    subnet: int | None
    path: list[int] | None
    bn: str
    scores: list[float]
    others: dict[str, list[float]] = field(default_factory=dict)
    eliminated: int = 0
    screening: float | None = None
    gain_baseline: float | None = None
    gain_supernet: float | None = None
    ranking: Ranking | None = field(default=None, repr=False, compare=False)

    @property
    def score(self) -> float:
        """Mean over the splits of the score that ranks; NaN if it was eliminated before it had one."""
        return float(np.mean(self.scores)) if self.scores else float('nan')

    @property
    def order(self) -> tuple[float, ...]:
        """By what networks are sorted: when they were eliminated, then the score that they had there."""
        if self.eliminated and self.screening is not None:
            return self.eliminated, -self.screening
        return self.eliminated, -self.score


@dataclass(frozen=True)
class Cost:
    """What a ranking took.

    Args:
        passes (float): Images through a network, BN reset included, over all networks and ranks; what
            sub-nets share is counted once, by its share of the multiplications.
        one_by_one (float): The same if each sub-net had run by itself on all images.
        seconds (float): Wall-clock time.
    """

    passes: float
    one_by_one: float
    seconds: float


class Settings(TypedDict):
    """What tables need to know of the settings of a ranking; there are more."""

    columns: list[str]
    classes: int
    train: int
    held_out: int
    splits: int
    size: int
    resize: int
    bn_reset: str
    search: str


class MoreSettings(TypedDict, total=False):
    """What they need for some rankings, and what a sub-net gets its BN statistics by."""

    images: int  # without labels
    k: list[int]  # of kNN, as the next two
    metric: str
    temperature: float
    skipped: int
    checkpoint: str
    task: dict[str, str | int | None]
    bn_images: int
    batch_size: int
    seed: int
    on_error: str


class Agreement(TypedDict):
    """How well a score predicts linear accuracy."""

    spearman: float | None
    kendall: float | None
    regret: float
    networks: float


@dataclass(frozen=True, repr=False)
class Ranking:
    """All networks on one task, best first. It prints as its table, in a terminal and in a notebook.

    Args:
        task (str): Name of the task.
        networks (list[RankedNetwork]): Sorted: networks that were scored in full by their score, of equal ones the
            lower index first; then those that a search eliminated, the last ones first.
        settings (dict): Everything that determines the scores; ``columns`` names them, the first one ranks.
        cost (Cost): What it took.
        shortcuts (list[str]): What was not done in full, a sentence each. Defaults to none.
        agreement (dict[str, dict[str, float]]): For each score how well it predicts linear accuracy, if
            that was asked for: ``spearman``, ``kendall``, ``regret`` and the number of ``networks``. Defaults to
            none.
        images (Task, optional): The task itself, where it is known. It is not saved. Defaults to None.
    """

    task: str
    networks: list[RankedNetwork]
    settings: dict[str, Any]
    cost: Cost
    shortcuts: list[str] = field(default_factory=list)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    images: Task | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'networks', [replace(network, ranking=self) for network in self.networks])

    @classmethod
    def of(cls, task: str, networks: Sequence[RankedNetwork], settings: dict[str, Any], cost: Cost,
           shortcuts: Sequence[str] = (), **others: Any) -> Ranking:
        """Ranks ``networks`` and fills in their gains."""
        score = {network.name: network.score for network in networks if network.scores}

        def gain(network: RankedNetwork, over: str) -> float | None:
            compared = network.scores and not network.eliminated and over in score and network.name != over
            return _gain(network.score, score[over]) if compared else None

        ranked = [replace(network, gain_baseline=gain(network, BASELINE_ROW), gain_supernet=gain(network, SUPERNET_ROW))
                  for network in networks]
        ranked.sort(key=lambda network: (*network.order, -1 if network.subnet is None else network.subnet,
                                         network.name))
        return cls(task, ranked, settings, cost, list(shortcuts), **others)

    @property
    def subnets(self) -> list[RankedNetwork]:
        """The sub-nets, best first."""
        return [network for network in self.networks if network.subnet is not None]

    @property
    def best(self) -> RankedNetwork:
        """The routed sub-net."""
        return self.subnets[0]

    @property
    def unit(self) -> str:
        """What gains are counted in: ``'points'`` of per cent, or the name of the score that ranks."""
        column = next(iter(self.settings.get('columns', ())), 'knn')
        return 'points' if is_percent(column) else TITLES.get(column, column)

    @property
    def scored(self) -> list[RankedNetwork]:
        """The sub-nets that were scored in full, best first."""
        return [network for network in self.subnets if not network.eliminated and network.scores]

    def network(self, name: str) -> RankedNetwork | None:
        """The network of that name, if it took part."""
        return next((network for network in self.networks if network.name == name), None)

    def gains(self, over: str = BASELINE_ROW) -> np.ndarray:
        """Gains of the sub-nets that were scored in full over another network, best first, in points.

        Args:
            over (str): ``'baseline'``, ``'super-net'`` or the name of another network. Defaults to 'baseline'.

        Raises:
            InputError: If that network did not take part, or has no score.
        """
        reference = self.network(over)
        if reference is None:
            raise InputError(f'the routing on {self.task} has no {over} to compare with: '
                             f'route again with it as --baseline or among the --candidates')
        if not reference.scores or not self.scored:
            raise InputError(f'the routing on {self.task} has no scores of {over} and of sub-nets to compare: route '
                             f'again, with labels')
        return np.array([_gain(network.score, reference.score) for network in self.scored])

    def save(self, file: str | Path, overwrite: bool = False) -> None:
        """Writes JSON, whole or not at all.

        Raises:
            InputError: If the file exists and may not be replaced, or the disk is full.
        """
        networks = [{**{item.name: getattr(network, item.name) for item in fields(network) if item.name != 'ranking'},
                     'score': network.score if network.scores else None} for network in self.networks]
        # JSON has no NaN.
        agreement = {score: {key: None if math.isnan(value) else value for key, value in found.items()}
                     for score, found in self.agreement.items()}
        content = dict(format=FORMAT, task=self.task, settings=self.settings, cost=asdict(self.cost),
                       shortcuts=self.shortcuts, agreement=agreement, networks=networks)
        with atomic_write(file, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, file: str | Path) -> Ranking:
        """Reads what :meth:`save` wrote. Order and gains follow from the scores.

        Raises:
            InputError: If the file is missing, or something in it cannot be.
        """
        advice = 'give the JSON that tools/route.py --out wrote'
        content = read_json(file, advice)
        try:
            check(content, dict[str, Any], 'it')
            if content.pop('format', None) != FORMAT:
                raise ValueError(f'its format is not {FORMAT!r}')
            check(content.get('networks'), list[dict[str, Any]], 'networks')
            # Gains and the mean score are there for those who read the file.
            derived = ('score', 'gain_baseline', 'gain_supernet')
            content['networks'] = [
                build(RankedNetwork, {key: value for key, value in network.items() if key not in derived},
                      f'networks[{number}]', leave_out=('ranking', ))
                for number, network in enumerate(content['networks'])]
            content['cost'] = build(Cost, content.get('cost'), 'cost')
            for name, hint in (('task', str), ('shortcuts', list[str]), ('agreement', dict[str, Agreement])):
                check(content.get(name), hint, name)
            content['agreement'] = {score: {key: math.nan if value is None else value for key, value in found.items()}
                                    for score, found in content['agreement'].items()}
            if strange := sorted(set(content) - {'task', 'networks', 'settings', 'cost', 'shortcuts', 'agreement'}):
                raise ValueError(f'it has the unknown entry {strange[0]!r}')
            cls._check_record(content['networks'], content.get('settings'), content['cost'])
            return cls.of(**content)
        except ValueError as error:
            raise InputError(f'{file} is no result of routing ({error}): {advice}') from error

    @staticmethod
    def _check_record(networks: Sequence[RankedNetwork], settings: Any, cost: Cost) -> None:
        """Raises a ValueError for what tables, figures and exports could not be made of."""
        check(settings, Settings, 'settings')
        check(settings, MoreSettings, 'settings')
        needed = ['k', 'metric', 'temperature'] if any(name.startswith('knn') for name in settings['columns']) else []
        needed += [] if settings['classes'] else ['images']
        if missing := [name for name in needed if name not in settings]:
            raise ValueError(f'settings has no {missing[0]}')
        if not settings['columns'] or settings['splits'] < min(1, settings['classes']):
            raise ValueError('settings has no columns, or no splits')
        if min(asdict(cost).values()) < 0 or cost.one_by_one and not cost.passes:
            raise ValueError(f'the cost is {cost}')
        check_networks(networks, settings['splits'])

    def table(self, top: int = 10, bottom: int = 3) -> str:
        """The ranks as text, with a title above and notes below.

        Args:
            top (int): Sub-nets from the best down. Defaults to 10.
            bottom (int): Sub-nets from the worst up. Defaults to 3. Other networks are always shown.
        """
        head, lines = self.cells(top, bottom)
        return '\n'.join([self.title(), '', text_table(head, lines, left=(1, 2, 3)), '', *self._notes()])

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        head, lines = self.cells(10, 3)
        text = [f'<p>{escape(part)}</p>' for part in (self.title(), *self._notes())]
        return '\n'.join([text[0], html_table(head, lines, left=(1, 2, 3)), *text[1:]])

    def cells(self, top: int, bottom: int) -> tuple[list[str], list[list[str]]]:
        """Head and lines of the table, of the ``top`` sub-nets, the ``bottom`` ones and all other networks."""
        columns = self.settings['columns']
        screened = any(network.eliminated for network in self.networks)
        compared = any(network.gain_baseline is not None or network.gain_supernet is not None
                       for network in self.networks)
        head = ['rank', 'network', 'path', 'BN statistics', *(TITLES.get(name, name) for name in columns),
                *['screening'] * screened, *['over baseline', 'over super-net'] * compared]
        rank = {network.name: number for number, network in enumerate(self.subnets, 1)}
        lines: list[list[str]] = []
        passed = 0
        for network in self.networks:
            number = rank.get(network.name)
            if number is not None and top < number <= len(rank) - bottom:
                passed += 1
                line = ['…', f'{passed} more', *[''] * (len(head) - 2)]
                lines[len(lines) - (passed > 1):] = [line]
                continue
            passed = 0
            cells = ['–' if number is None else str(number), network.name,
                     '' if network.path is None else ','.join(map(str, network.path)), network.bn]
            cells += [score_text(network.scores if column == columns[0] else network.others.get(column, []), column)
                      for column in columns]
            cells += ['' if network.screening is None else f'{network.screening:.4g}'] * screened
            lines.append(cells + [_points(network.gain_baseline), _points(network.gain_supernet)] * compared)
        return head, lines

    def title(self) -> str:
        """What was ranked and how, in one line."""
        s = self.settings
        splits = f' × {s["splits"]} splits' if s['splits'] > 1 else ''
        images = (f'{s["classes"]} classes, {s["train"]} training and {s["held_out"]} held-out images{splits}'
                  if s['classes'] else f'{s["images"]} images without labels')
        knn = ''
        if any(column.startswith('knn') for column in s['columns']):
            k = ', '.join(str(min(k, s['train'])) for k in s['k'])
            knn = f'; kNN {s["metric"]} in %, k = {k}, T = {s["temperature"]}'
        return (f'{self.task}: {images}{knn}; {s["size"]} of {s["resize"]} px, BN reset: {s["bn_reset"]}, '
                f'search: {s["search"]}')

    def cautions(self) -> list[str]:
        """What to know before the scores are relied on, a sentence each."""
        cautions, s = [], self.settings
        if self.scored and len(self.subnets) > 1:
            cautions.append(f'The best of {len(self.subnets)} was chosen on these held-out images, so its score is '
                            f'optimistic: measure it on others.')
        if s['bn_reset'] == 'cluster' and self.scored:
            cautions.append('Sub-nets were reset on their clusters, the others on the whole pool, so gains hold an '
                            'effect of BN statistics: compare with --bn-reset task.')
        if s.get('skipped'):
            cautions.append(f'{s["skipped"]} images could not be decoded and were left out.')
        return cautions + [f'Shortcut: {sentence}' for sentence in self.shortcuts]

    def _notes(self) -> list[str]:
        notes = []
        scores = [network.score for network in self.scored]
        if scores:
            notes.append(f'{len(scores)} of {len(self.subnets)} sub-nets scored in full: mean {np.mean(scores):.2f}, '
                         f'best {scores[0]:.2f}, worst {scores[-1]:.2f}')
        notes += self.cautions()
        for name, found in self.agreement.items():
            notes.append(f'{TITLES.get(name, name)} against linear accuracy over {found["networks"]:.0f} sub-nets: '
                         f'Spearman {found["spearman"]:.2f}, Kendall {found["kendall"]:.2f}, regret '
                         f'{found["regret"]:.2f} points')
        less = f', {self.cost.one_by_one / self.cost.passes:.1f} times fewer than one by one' \
            if self.cost.one_by_one else ''
        notes.append(f'Cost: {self.cost.passes:,.0f} images through a network{less}; {duration(self.cost.seconds)}')
        return notes


def check_networks(networks: Sequence[RankedNetwork], splits: int) -> None:
    """Raises a ValueError if networks contradict each other: names, and the paths and numbers of sub-nets."""
    subnets = [network for network in networks if network.subnet is not None]
    if not subnets:
        raise ValueError('it has no sub-net')
    for names in ([network.name for network in networks], [network.subnet for network in subnets]):
        if len(set(names)) < len(names):
            raise ValueError('it has a network twice')
    for network in networks:
        if (network.path is None) != (network.subnet is None):
            raise ValueError(f'{network.name} has a path and no number, or a number and no path')
        if len(network.scores) not in (0, splits) or network.eliminated < 0:
            raise ValueError(f'{network.name} has {len(network.scores)} scores in {splits} splits, or was eliminated '
                             f'{network.eliminated} times')
    space = space_of({network.subnet: network.path for network in subnets})  # type: ignore[misc]
    for network in subnets:
        assert network.subnet is not None
        if not 0 <= network.subnet < len(space) or list(space.path(network.subnet)) != network.path:
            raise ValueError(f'{network.name} has the number {network.subnet} and the path {network.path}, which do '
                             f'not fit')


def space_of(paths: Mapping[int, Sequence[int]]) -> SubnetSpace:
    """The smallest space in which sub-nets can have these paths by their numbers, if there is one."""
    blocks = len(next(iter(paths.values())))
    lowest = max([0, *(group for path in paths.values() for group in path)]) + 1
    # The number of a path rises with the number of groups if it has a group other than 0 before its last one.
    telling = next(((subnet, path) for subnet, path in paths.items() if any(path[:-1])), None)
    if telling is None or len(telling[1]) != blocks or min(telling[1]) < 0:
        return SubnetSpace(lowest, blocks)
    subnet, path = telling
    if subnet > 1 << 40:
        raise ValueError(f'there is no sub-net {subnet}')
    more = bisect_left(range(max(0, subnet - lowest)), subnet,
                       key=lambda groups: SubnetSpace(lowest + groups, blocks).index(path))
    return SubnetSpace(lowest + more, blocks)


def _gain(score: float, reference: float) -> float:
    # Rounded, so that equal scores gain 0 and not -1e-14, which would count and be drawn as a loss.
    return round(score - reference, 9)


def score_text(values: Sequence[float], column: str) -> str:
    """The scores of a network in a column, one a split, as the table shows them."""
    if not values:
        return ''
    percent = is_percent(column)
    deviation = f' ± {np.std(values):.2f}' if len(values) > 1 and percent else ''
    return f'{np.mean(values):.2f}{deviation}' if percent else f'{np.mean(values):.4g}'


def is_percent(column: str) -> bool:
    """Whether the numbers of a column are per cent."""
    return column.startswith(('knn', LINEAR))


def _points(gain: float | None) -> str:
    return '' if gain is None else f'{round(gain, 2) + 0:+.2f}'  # no -0.00
