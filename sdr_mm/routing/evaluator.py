"""Routing: which sub-net suits a task best (section 4.3 of the paper)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import dist

from ..datasets.pool import Pool
from ..distributed import gather, on_all_ranks, share
from ..errors import InputError, naming
from ..evaluation.agreement import rank_correlation, regret
from ..evaluation.task import Split, Task
from ..evaluation.task_config import load_task
from ..images import IMAGENET, ImageStore, Normalization
from ..models.backbone import SDRBackbone, check_rgb
from ..models.zoo import Network, load_network
from ..registry import EVALUATORS
from .bn_reset import OWN, BNImages, BNReset
from .feature_extractor import FeatureExtractor, read_task
from .halving import Halving
from .label_free import LabelFree
from .ranking import BASELINE_ROW, LINEAR, SUPERNET_ROW, Cost, RankedNetwork, Ranking
from .scores import Scorer
from .strategies import Exact, Screen, Search, joined

SEARCHES: dict[str, type[Search]] = {kind.name: kind for kind in (Exact, Screen, Halving, LabelFree)}
"""By the names that options and files use."""


@EVALUATORS.register_module()
class RoutingEvaluator:
    """Ranks all sub-nets for a task.

    Beside the sub-nets it scores the super-net, the baseline and other candidates, with their BN
    statistics reset in the same way, and once more with their own, so that an effect of the statistics
    cannot pass for a gain of routing. If a task has images to test on and others to choose by, the
    former are not touched.

    Args:
        task (Task | str | Path | dict): The task, where :func:`load_task` finds it, or that and its options:
            ``dict(source=…, splits=5)``.
        search (Search | str | dict): :class:`Exact`, :class:`Screen`, :class:`Halving` or :class:`LabelFree`, its
            name, or ``dict(type=NAME, …)`` with its options. Defaults to 'exact'.
        bn (BNReset | str | dict): Which images give networks their BN statistics. Defaults to 'cluster'.
        scorer (Scorer | dict, optional): What ranks. Defaults to None, kNN with ``k`` = 200.
        baseline (str, optional): A network to compare with, as :func:`load_network` takes it. Defaults
            to None.
        candidates (Sequence[str]): More of them. Defaults to ().
        resize (int): Short side of the images, in pixels. Defaults to 256.
        size (int): Side of the center crop. Defaults to 224.
        on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'`` and count it.
            Defaults to 'stop'.
        workers (int): Threads that decode. Defaults to 2.

    Raises:
        InputError: If an argument is out of range or the task cannot be used.
    """

    def __init__(self,
                 task: Task | str | Path | dict[str, Any],
                 *,
                 search: Search | str | dict[str, Any] = 'exact',
                 bn: BNReset | str | dict[str, Any] = 'cluster',
                 scorer: Scorer | dict[str, Any] | None = None,
                 baseline: str | Path | None = None,
                 candidates: Sequence[str] = (),
                 resize: int = 256,
                 size: int = 224,
                 on_error: str = 'stop',
                 workers: int = 2) -> None:
        self.search = build_search(search)
        self.bn = BNReset(bn) if isinstance(bn, str) else BNReset(**bn) if isinstance(bn, dict) else bn
        self.scorer = scorer if isinstance(scorer, Scorer) else Scorer(**(scorer or {}))
        if self.scorer.linear and not self.search.scores_all:
            raise InputError(f'to compare scores with linear accuracy all sub-nets need features of all images, which '
                             f"search {self.search.name!r} does not give: choose 'exact' or 'screen'")
        self.source = dict(task) if isinstance(task, dict) else {} if isinstance(task, Task) else dict(source=task)
        if self.source:
            self.source['source'] = str(Path(self.source['source']).expanduser().resolve())
        self.task = task if isinstance(task, Task) else task_at(
            self.source, unlabeled=isinstance(self.search, LabelFree))
        self.baseline, self.candidates = baseline, tuple(candidates)
        self.images: dict[str, Any] = dict(resize=resize, size=size, on_error=on_error)
        self.workers = workers

    def evaluate(self, backbone: SDRBackbone, *, pool: Pool | None = None,
                 normalization: Normalization = IMAGENET) -> Ranking:
        """Ranks the sub-nets of ``backbone``, on its device. All ranks must call.

        Args:
            backbone (SDRBackbone): The SDRNet; it is not changed.
            pool (Pool, optional): Images of pre-training, see :attr:`needs_pool`. Defaults to None.
            normalization (Normalization): Of the SDRNet's input. Defaults to ImageNet's. Other networks have their
                own.

        Returns:
            Ranking: The same on all ranks.

        Raises:
            InputError: If images of pre-training are needed and missing, or images or features cannot be
                used.
        """
        start = time.monotonic()
        check_rgb(backbone.in_channels, 'the SDRNet', values=len(normalization.mean))
        self._check_pool(pool)
        load = cache(load_network)  # once, though it is checked, measured, and measured with its own statistics
        if self.task.classes:
            on_all_ranks(lambda: [load(spec, where) for where, spec in share(self._specs)])
        extractor = on_all_ranks(lambda: self._extractor(backbone, pool, normalization))
        others = self._others(extractor, load) if extractor.task.classes else []
        planned = self.search.passes(extractor) + self._passes(extractor, others)
        with extractor.expect(planned / dist.get_world_size()):
            networks = self._score(extractor, others)
            subnets, shortcuts = self.search.run(extractor, self.scorer)
        one_by_one = Exact(share_prefixes=False).passes(extractor) + self._passes(extractor, others)
        cost = Cost(round(sum(dist.all_gather_object(extractor.passes)), 1),
                    one_by_one if extractor.task.classes else 0.0, round(time.monotonic() - start, 3))
        return Ranking.of(extractor.task.name, [*networks, *subnets], self._settings(extractor), cost, shortcuts,
                          agreement=with_linear(subnets, self.scorer.columns) if self.scorer.linear else {},
                          images=self.task)

    @property
    def needs_clusters(self) -> bool:
        """Whether the clusters of pre-training are needed, and so its images."""
        return self.bn.mode == 'cluster' and bool(self.task.classes) or self.search.needs_clusters

    @property
    def needs_pool(self) -> bool:
        """Whether the images of pre-training are needed."""
        return self.needs_clusters or 'all' in (self.bn.mode, self.search.settings.get('bn'))

    def _check_pool(self, pool: Pool | None) -> None:
        if self.needs_pool and (pool is None or self.needs_clusters and pool.clusters is None):
            what = f'search {self.search.name!r}' if self.search.needs_clusters else f'BN reset {self.bn.mode!r}'
            raise InputError(f'{what} needs the images of pre-training'
                             f'{" and their clusters" if self.needs_clusters else ""}: give them, or choose '
                             f'{"another search" if self.search.needs_clusters else "--bn-reset task"}')

    @property
    def _specs(self) -> list[tuple[str, str]]:
        """What the other networks are compared as, and their specs."""
        return [*([] if self.baseline is None else [('baseline', str(self.baseline))]),
                *(('candidate', spec) for spec in self.candidates)]

    def _extractor(self, backbone: SDRBackbone, pool: Pool | None, normalization: Normalization) -> FeatureExtractor:
        """Reads the images, and gives what all networks of the ranking have in common."""
        task, store, readable = read_task(self.task, workers=self.workers, **self.images)
        pool_store = None if pool is None else ImageStore(pool.paths, workers=self.workers, **self.images)
        train = readable[task.train_images] if task.classes else None
        return FeatureExtractor(backbone, task, store, readable, self.bn, BNImages(store, train, pool, pool_store),
                                normalization)

    def _others(self, extractor: FeatureExtractor,
                load: Callable[[str, str], Network]) -> list[tuple[str, Callable[[], Any], bool]]:
        """Super-net, baseline and candidates: name, how to get it with its normalization, whether to reset its BN."""
        def copy_of(spec: str, where: str) -> tuple[Any, Normalization]:
            network = load(spec, where)
            return deepcopy(network.module).to(extractor.device), network.settings.normalization

        loaders: dict[str, Callable[[], Any]] = {SUPERNET_ROW: lambda: (extractor.supernet(), extractor.normalization)}
        for where, spec in self._specs:
            loaders[BASELINE_ROW if where == 'baseline' else spec] = partial(copy_of, spec, where)
        reset = self.bn.mode != 'none'
        return [*((name, load, reset) for name, load in loaders.items()),
                *((f'{name}, own BN', load, False) for name, load in loaders.items() if reset)]

    def _passes(self, extractor: FeatureExtractor, others: Sequence[tuple[str, Callable[[], Any], bool]]) -> float:
        return float(sum(len(extractor.readable) + reset * extractor.bn_size(self.bn) for *_, reset in others))

    def _score(self, extractor: FeatureExtractor,
               others: Sequence[tuple[str, Callable[[], Any], bool]]) -> list[RankedNetwork]:
        def mine() -> list[RankedNetwork]:
            found = []
            for name, load, reset in share(others):
                network, normalization = load()
                with naming(name):
                    bn, features = extractor.features(network, None, reset, normalization)
                found.append(self.scorer.rank(name, features, extractor.task, bn))
            return found
        networks = joined(gather(mine))
        # A network without BN layers has nothing to reset, and is not shown twice.
        unchanged = {f'{name}, own BN' for name, _, reset in others if reset} & {
            f'{network.name}, own BN' for network in networks if network.bn == OWN}
        return [network for network in networks if network.name not in unchanged]

    def _settings(self, extractor: FeatureExtractor) -> dict[str, Any]:
        task = extractor.task
        split = task.splits[0] if task.classes else Split(np.empty(0), np.empty(0))
        return dict(
            self.images, task=self.source, search=self.search.name, search_options=self.search.settings,
            columns=self.scorer.columns, metric=self.scorer.metric or task.metric, k=list(self.scorer.neighbors),
            temperature=self.scorer.temperature, bn_reset=self.bn.mode, bn_images=self.bn.num_images,
            batch_size=self.bn.batch_size, seed=self.bn.seed,
            baseline=None if self.baseline is None else str(self.baseline), candidates=list(self.candidates),
            classes=len(task.classes), images=len(task.labels), train=len(split.train), held_out=len(split.test),
            splits=len(task.splits), skipped=len(extractor.store) - len(extractor.readable))


def build_search(search: Search | str | dict[str, Any]) -> Search:
    """A search from its name, or from ``dict(type=NAME, …)`` with its options.

    Raises:
        InputError: If there is no such search or option, or an option is out of range.
    """
    if isinstance(search, Search):
        return search
    options = dict(type=search) if isinstance(search, str) else dict(search)
    name = options.pop('type')
    if name not in SEARCHES:
        raise InputError(f'a search is one of {", ".join(SEARCHES)}, got {name!r}')
    known = SEARCHES[name]().settings
    strange = sorted(set(options) - set(known))
    if strange:
        others = [other for other, kind in SEARCHES.items() if strange[0] in kind().settings]
        raise InputError(f'search {name!r} has no option {strange[0]!r}, only {", ".join(known) or "none"}'
                         + (f': choose --search {" or ".join(others)} for it' if others else ''))
    return SEARCHES[name](**options)


def task_at(source: dict[str, Any], unlabeled: bool = False) -> Task:
    """The task of ``dict(source=…, splits=…, …)``; with ``unlabeled`` any folder of images will do."""
    try:
        return load_task(**source)
    except InputError:
        if not (unlabeled and Path(source['source']).is_dir()):
            raise
    return Task.unlabeled(source['source'])


def with_linear(subnets: Sequence[RankedNetwork], columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each score its rank correlation with linear accuracy over sub-nets, and the regret in points."""
    subnets = sorted(subnets, key=lambda network: network.name)
    linear = [float(np.mean(network.others[LINEAR])) for network in subnets]
    found = {}
    for column in columns:
        if column != LINEAR:
            scores = [network.score if column == columns[0] else float(np.mean(network.others[column]))
                      for network in subnets]
            correlation = rank_correlation(scores, linear)
            found[column] = dict(spearman=correlation.spearman, kendall=correlation.kendall,
                                 regret=regret(scores, linear), networks=float(len(subnets)))
    return found
