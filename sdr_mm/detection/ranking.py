"""The ranks of a detection routing as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from ..records import check
from ..routing import Cost, RankedNetwork, Ranking
from ..text_table import duration

SHORTLIST_TITLES = dict(label_free='share', knn_crops='kNN on crops')


class DetectionSettings(TypedDict):
    """What the table needs to know of the settings, beside those of every ranking."""

    shortlist: str | None
    diverged: dict[str, str]
    baselines: list[str]
    iters: int
    max_iters: int
    batch: int
    candidates: int
    subnets: int
    iterations: int
    tested: bool


class DetectionRanking(Ranking):
    """The result of a :class:`DetectionRoutingEvaluator`; its table has all networks that were fine-tuned."""

    @staticmethod
    def _check_record(networks: Sequence[RankedNetwork], settings: Any, cost: Cost) -> None:
        Ranking._check_record(networks, settings, cost)
        check(settings, DetectionSettings, 'settings')
        if settings['shortlist'] not in (None, *SHORTLIST_TITLES):
            raise ValueError(f'the shortlist is {settings["shortlist"]}')
        for network in networks:
            if network.scores and not all(network.others.get(name) for name in ('AP50', 'AP75', 'iterations')):
                raise ValueError(f'{network.name} has no AP50, AP75 or iterations')

    def cells(self, top: int, bottom: int) -> tuple[list[str], list[list[str]]]:
        """Head and lines of the table: all networks that were fine-tuned."""
        mode = self.settings['shortlist']
        raced = [network for network in self.networks if network.scores or network.name in self.settings['diverged']]
        compared = any(network.gain_baseline is not None or network.gain_supernet is not None for network in raced)
        head = ['rank', 'network', 'path', 'BN statistics', 'AP', 'AP50', 'AP75', 'iterations',
                *['over baseline', 'over super-net'] * compared, *([SHORTLIST_TITLES[mode]] if mode else [])]
        rank = {network.name: str(number) for number, network in enumerate(
            (network for network in raced if network.subnet is not None), 1)}
        lines = []
        for network in raced:
            scores = ['diverged', '', '', '']
            if network.scores:
                scores = [f'{network.score:.2f}', *(f'{network.others[column][0]:.2f}' for column in ('AP50', 'AP75')),
                          f'{network.others["iterations"][0]:.0f}']
            cells = [rank.get(network.name, '–'), network.name, ','.join(map(str, network.path or ())), network.bn,
                     *scores]
            if compared:
                cells += ['' if gain is None else f'{gain:+.2f}'
                          for gain in (network.gain_baseline, network.gain_supernet)]
            if mode:
                cells += [f'{value:.4g}' for value in network.others.get('shortlist', [])] or ['']
            lines.append(cells)
        return head, lines

    def title(self) -> str:
        """What was ranked and how, in one line."""
        s = self.settings
        return (f'{self.task}: {s["train"]} images for training, {s["held_out"]} for AP (in %, mean over IoU '
                f'0.50:0.95, 11-point); {s["iters"]} of {s["max_iters"]} iterations of {s["batch"]} images, BN '
                f'reset: {s["bn_reset"]}')

    def cautions(self) -> list[str]:
        """What to know before the scores are relied on, a sentence each."""
        s = self.settings
        cautions = [f'{name} was skipped, it has diverged: {reason}' for name, reason in s['diverged'].items()]
        if s['baselines']:
            cautions.append(f'baseline: {s["baselines"][0]}')
        if s['candidates'] > 1:
            same = ' The config tests on the same ones.' if s['tested'] else ''
            cautions.append(f'The best of {s["candidates"]} was chosen on these {s["held_out"]} images, so its score '
                            f'is optimistic.{same}')
        return cautions + [f'Shortcut: {sentence}' for sentence in self.shortcuts]

    def _notes(self) -> list[str]:
        s = self.settings
        less = self.cost.one_by_one / self.cost.passes if self.cost.passes else 0
        fewer = f', {less:.1f} times fewer than {s["iters"]} iterations of all {s["subnets"]} sub-nets' * (less > 1)
        return [*self.cautions(), f'Cost: {s["iterations"]:,} iterations, {self.cost.passes:,.0f} images through a '
                f'network{fewer}; {duration(self.cost.seconds)} of device time']
