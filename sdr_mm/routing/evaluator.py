"""Routing: which sub-net suits a task best (section 4.3 of the paper)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import dist

from ..distributed import on_all_ranks
from ..errors import InputError
from ..evaluation.agreement import rank_correlation, regret
from ..evaluation.task import Split, Task
from ..evaluation.task_config import load_task
from ..images import IMAGENET
from ..images.store import ImageStore
from ..models.sdr_resnet import SDRResNet
from ..models.zoo import load_network
from ..registry import EVALUATORS
from .bn_source import BNReset
from .expectation import Expectation
from .halving import Rung, rungs
from .halving_search import HalvingSearch
from .load_sdr import Pool
from .result import BASELINE_ROW, SUPERNET_ROW, Cost, RoutingResult, RoutingRow
from .result_table import duration
from .scores import LINEAR, Scorer
from .search import SEARCHES, Loader, Search, shortlisted
from .session import Normalization, Session


@EVALUATORS.register_module()
class RoutingEvaluator:
    """Ranks all sub-nets for a task.

    ``search`` says how:

    - ``'exact'``: every sub-net on all images. Where all have their BN statistics from the same images
      they run as a tree (:class:`PrefixTree`), which changes nothing but the time; with those of their
      clusters they run one by one.
    - ``'screen'``: first all of them as a tree, with statistics of the same images; then the finalists
      exactly.
    - ``'halving'``: as ``'screen'``, but most sub-nets leave after few images, by a smoothed kNN accuracy
      (:func:`soft_accuracy`) whatever the scores.
    - ``'label_free'``: sub-nets are ordered by the share of the task's images that resembles their
      cluster; then the finalists exactly, if the task has labels.

    Beside the sub-nets it scores the super-net, the baseline and other candidates, with their BN
    statistics reset in the same way, and once more with their own, so that an effect of the statistics
    cannot pass for a gain of routing. If a task has images to test on and others to choose by, the
    former are not touched.

    Args:
        task (Task | str | Path): The task, or where :func:`load_task` finds it.
        baseline (str, optional): A network to compare with, as :func:`load_network` takes it. Defaults
            to None.
        candidates (Sequence[str]): More of them. Defaults to ().
        search (str): See above. Defaults to 'exact'.
        scores (Sequence[str]): Of :data:`SCORES`; the first one ranks. Defaults to ('knn', ).
        k (int | Sequence[int]): Neighbors of kNN, clamped to the training size; the first one ranks.
            Defaults to 200.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        metric (str, optional): One of :data:`METRICS`. Defaults to None, the task's.
        bn_reset (str): See :class:`BNReset`. Defaults to 'cluster'.
        bn_images (int): Most images for BN reset. Defaults to 2000.
        screen_bn (str): The same for what all sub-nets share in a screening, ``'task'``, ``'all'`` or
            ``'none'``. Defaults to None: as ``bn_reset``, or ``'task'`` if that is ``'cluster'``.
        finalists (int): Sub-nets that are scored exactly after a screening. Defaults to 4.
        first_images (int, optional): Images of the first step of halving. Defaults to None: 1/12 of
            them, at least 768.
        per_cluster (int): Images of each cluster for ``'label_free'``. Defaults to 32.
        share_prefixes (bool): Whether ``'exact'`` may run sub-nets as a tree. Defaults to True.
        linear (bool): Whether to report how well each score foretells linear accuracy, which takes a
            linear probe for each sub-net. Defaults to False.
        batch_size (int): Images in a batch, for BN reset and features. Defaults to 200.
        resize (int): Short side of the images, in pixels. Defaults to 256.
        size (int): Side of the center crop. Defaults to 224.
        splits (int): Random splits of a folder that has none of its own. Defaults to 1.
        data_root (str, optional): Folder in place of ``data`` in the config of a task. Defaults to None.
        seed (int): Of the splits and of the choice of images. Defaults to 0.
        on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'`` and count it.
            Defaults to 'stop'.
        workers (int): Threads that decode. Defaults to 2.

    Raises:
        InputError: If an argument is out of range or the task cannot be used.
    """

    def __init__(self,
                 task: Task | str | Path,
                 *,
                 baseline: str | Path | None = None,
                 candidates: Sequence[str] = (),
                 search: str = 'exact',
                 scores: Sequence[str] = ('knn', ),
                 k: int | Sequence[int] = 200,
                 temperature: float = 0.07,
                 metric: str | None = None,
                 bn_reset: str = 'cluster',
                 bn_images: int = 2000,
                 screen_bn: str | None = None,
                 finalists: int = 4,
                 first_images: int | None = None,
                 per_cluster: int = 32,
                 share_prefixes: bool = True,
                 linear: bool = False,
                 batch_size: int = 200,
                 resize: int = 256,
                 size: int = 224,
                 splits: int = 1,
                 data_root: str | None = None,
                 seed: int = 0,
                 on_error: str = 'stop',
                 workers: int = 2) -> None:
        if search not in SEARCHES:
            raise InputError(f'a search is one of {", ".join(SEARCHES)}, got {search!r}')
        if finalists < 1 or per_cluster < 1 or (first_images is not None and first_images < 2):
            raise InputError(f'need finalists >= 1, per_cluster >= 1 and first_images >= 2, got {finalists}, '
                             f'{per_cluster} and {first_images}')
        if linear and search in ('halving', 'label_free'):
            raise InputError(f'to compare scores with linear accuracy all sub-nets need features of all images, which '
                             f"search {search!r} does not give: choose 'exact' or 'screen'")
        self.search, self.finalists, self.first_images = search, finalists, first_images
        self.per_cluster, self.share_prefixes, self.linear = per_cluster, share_prefixes, linear
        self.scorer = Scorer(tuple(scores), (k, ) if isinstance(k, int) else tuple(k), temperature, metric)
        self.bn = BNReset(bn_reset, bn_images, batch_size, seed)
        self.screen_bn = replace(self.bn, mode=screen_bn or (bn_reset if self.bn.shared else 'task'))
        if not self.screen_bn.shared:
            raise InputError("sub-nets share BN statistics in a screening: screen_bn is 'task', 'all' or 'none', got "
                             "'cluster'")
        self.place = None if isinstance(task, Task) else str(Path(task).expanduser().resolve())
        self.task = task if isinstance(task, Task) else _load(
            task, splits, seed, data_root, search == 'label_free')
        self.baseline, self.candidates = baseline, tuple(candidates)
        self.resize, self.size, self.on_error, self.workers = resize, size, on_error, workers
        self.data_root = data_root

    def evaluate(self,
                 backbone: SDRResNet,
                 *,
                 pool: Pool | None = None,
                 mean: Sequence[float] = IMAGENET.mean,
                 std: Sequence[float] = IMAGENET.std,
                 say: Callable[[str], None] = lambda text: None) -> RoutingResult:
        """Ranks the sub-nets of ``backbone``, on its device. All ranks must call.

        Args:
            backbone (SDRResNet): The SDRNet; it is not changed.
            pool (Pool, optional): Images of pre-training, needed for ``bn_reset`` ``'cluster'`` and
                ``'all'`` and for ``'label_free'``. Defaults to None.
            mean (Sequence[float]): Normalization of the SDRNet's input, RGB, 0 to 255. Defaults to
                ImageNet's. Other networks have their own.
            std (Sequence[float]): The same.
            say (Callable): Is told the expected time before the work. Defaults to nobody.

        Returns:
            RoutingResult: The same on all ranks.

        Raises:
            InputError: If images of pre-training are needed and missing, or images or features cannot be
                used.
        """
        start = time.monotonic()
        self._check_pool(pool)
        session = on_all_ranks(lambda: self._session(backbone, pool, (tuple(mean), tuple(std))))
        expectation = self._expect(session)
        say(f'{session.task.name}: about {expectation.passes:,.0f} images through a network, expected to take '
            f'{duration(expectation.seconds)}' + (', the linear probes aside' if self.linear else ''))
        search = Search(session, self.scorer, self.linear)
        rows = search.networks(self._networks(session)) if session.task.classes else []
        found, shortcuts = self._subnets(search)
        passes = sum(dist.all_gather_object(session.passes))
        cost = Cost(round(passes, 1), self._one_by_one(session), round(time.monotonic() - start, 3),
                    round(expectation.seconds, 3))
        result = RoutingResult.from_rows(session.task.name, [*rows, *found], self._settings(session), cost, shortcuts)
        return replace(result, agreement=with_linear(result)) if self.linear else result

    @property
    def needs_clusters(self) -> bool:
        """Whether the clusters of pre-training are needed, and so its images."""
        return self.bn.mode == 'cluster' and bool(self.task.classes) or self.search == 'label_free'

    @property
    def needs_pool(self) -> bool:
        """Whether the images of pre-training are needed."""
        screens = self.search in ('screen', 'halving')
        return self.needs_clusters or 'all' in (self.bn.mode, self.screen_bn.mode if screens else '')

    def _check_pool(self, pool: Pool | None) -> None:
        if self.needs_pool and (pool is None or self.needs_clusters and pool.clusters is None):
            label_free = self.search == 'label_free'
            what = f'search {self.search!r}' if label_free else f'BN reset {self.bn.mode!r}'
            raise InputError(f'{what} needs the images of pre-training'
                             f'{" and their clusters" if self.needs_clusters else ""}: give them, or choose '
                             f'{"another search" if label_free else "--bn-reset task"}')

    def _store(self, paths: Sequence[Any]) -> ImageStore:
        return ImageStore(
            paths, resize=self.resize, size=self.size, on_error=self.on_error, workers=self.workers)

    def _session(self, backbone: SDRResNet, pool: Pool | None, normalization: Normalization) -> Session:
        task = without_test(self.task)
        store = self._store(task.paths)
        readable = store.read_all(f'reading {task.name}')
        return Session(backbone, task.without(sorted(store.failed)), store, readable, pool,
                       self._store(pool.paths) if pool is not None else None, self.bn, normalization)

    def _networks(self, session: Session) -> list[tuple[str, Loader, bool]]:
        """Super-net, baseline and candidates: with BN reset, and as they are."""
        def loader(spec: str, where: str) -> Loader:
            def load() -> tuple[Any, Normalization]:
                network = load_network(spec, where)
                return network.module.to(session.device), (network.mean, network.std)
            return load

        loaders: dict[str, Loader] = {
            SUPERNET_ROW: lambda: (session.supernet(), session.normalization)
        }
        if self.baseline is not None:
            loaders[BASELINE_ROW] = loader(str(self.baseline), 'baseline')
        for spec in self.candidates:
            loaders[spec] = loader(spec, 'candidate')
        reset = self.bn.mode != 'none'
        return ([(name, load, reset) for name, load in loaders.items()] +
                ([(f'{name}, own BN', load, False) for name, load in loaders.items()] if reset else []))

    def _subnets(self, search: Search) -> tuple[list[RoutingRow], list[str]]:
        """Rows of all sub-nets, and what was not done in full."""
        session, everyone = search.session, range(len(search.session.backbone.space))
        count = min(self.finalists, len(everyone))
        if self._in_full(session):
            return search.exact(everyone, self.share_prefixes), []
        final = f'{count} finalists were then scored exactly'
        if self.search == 'label_free':
            shares = search.label_free(self.per_cluster)
            screened = [RoutingRow(f'sub-net {subnet}', subnet, list(session.backbone.space.path(subnet)), 'own', [],
                                   left=1, shortlist=share) for subnet, share in sorted(shares.items())]
            shortcut = (f'sub-nets were ordered by the share of the images that resembles their cluster '
                        f'({self.per_cluster} images of each, one pass of the super-net, no labels)')
            if not session.task.classes:
                return screened, [shortcut]
            best, left = shortlisted(screened, count)
            left = [replace(row, shortlist=shares[row.subnet]) for row in left if row.subnet is not None]
        elif self.search == 'screen':
            best, left = shortlisted(search.shared(everyone, self.screen_bn), count)
            shortcut = f'sub-nets were screened with BN statistics of the same images ({self.screen_bn.mode})'
        else:
            steps = self._rungs(session)
            best, left = HalvingSearch(session, self.scorer, steps, self._halving_bn(steps)).run(count)
            numbers = ', '.join(f'{rung.networks} on {rung.images}' for rung in steps)
            shortcut = (f'sub-nets were halved by soft kNN accuracy on growing parts of the labeled images '
                        f'({numbers}), with BN statistics of the same images ({self.screen_bn.mode})')
        return search.exact(best, self.share_prefixes) + left, [f'{shortcut}; {final}']

    def _in_full(self, session: Session) -> bool:
        """Whether every sub-net is scored exactly: that is asked for, or all of them would be finalists."""
        return self.search == 'exact' or bool(session.task.classes) and self.finalists >= len(session.backbone.space)

    def _rungs(self, session: Session) -> list[Rung]:
        images, space = len(session.task.labels), len(session.backbone.space)
        return rungs(space, images, min(self.finalists, space), self.first_images or max(768, images // 12))

    def _halving_bn(self, steps: Sequence[Rung]) -> BNReset:
        # A walk for the statistics costs as much as one for features, so it is kept shorter than the first step.
        few = max(256, steps[0].images // 2)
        return replace(self.screen_bn, num_images=min(self.screen_bn.num_images, few))

    def _expect(self, session: Session) -> Expectation:
        """Passes and seconds to come."""
        expectation, space = Expectation(session, self.scorer), session.backbone.space
        bn = self._bn_size(session, self.bn)
        finalists = min(self.finalists, len(space))
        if session.task.classes:
            for name, _, reset in self._networks(session):
                expectation.one_by_one(1, self._bn_size(session, self.bn, subnet=False) if reset else 0,
                                       supernet=name.startswith(SUPERNET_ROW))
        if self._in_full(session):
            if self.bn.shared and self.share_prefixes:
                expectation.tree(space.paths, len(session.readable), bn, scored=True)
            else:
                expectation.one_by_one(len(space), bn)
            return expectation
        if self.search == 'screen':
            expectation.tree(space.paths, len(session.readable), self._bn_size(session, self.screen_bn), scored=True)
        elif self.search == 'halving':
            steps = self._rungs(session)
            seen, bn_first = 0, self._bn_size(session, self._halving_bn(steps))
            random = np.random.default_rng(self.bn.seed)
            for rung in steps:
                some = [space.path(index) for index in random.permutation(len(space))[:rung.networks]]
                expectation.tree(some, rung.images - seen, bn_first)
                seen, bn_first = rung.images, 0
        else:
            expectation.label_free(self.per_cluster * len(space) + len(session.readable))
        if session.task.classes:
            expectation.one_by_one(finalists, bn)
        return expectation

    def _bn_size(self, session: Session, bn: BNReset, subnet: bool = True) -> int:
        """About how many images give a sub-net, or another network, its statistics."""
        if bn.mode == 'none' or not session.task.classes:
            return 0
        if bn.mode == 'task':
            return min(bn.num_images, len(session.task.train_images))
        assert session.pool is not None
        share = len(session.backbone.space) if bn.mode == 'cluster' and subnet else 1
        return min(bn.num_images, len(session.pool.paths) // share)

    def _one_by_one(self, session: Session) -> float:
        """Passes of an exact ranking without sharing; 0 if there can be none, for lack of labels."""
        if not session.task.classes:
            return 0.0
        images = len(session.readable)
        bn, other_bn = self._bn_size(session, self.bn), self._bn_size(session, self.bn, subnet=False)
        others = len(self._networks(session)) * images + sum(reset for *_, reset in self._networks(session)) * other_bn
        return float(len(session.backbone.space) * (images + bn) + others)

    def _settings(self, session: Session) -> dict[str, Any]:
        task, columns = session.task, list(self.scorer.columns)
        split = task.splits[0] if task.classes else Split(np.empty(0), np.empty(0))
        return dict(
            folder=self.place, data_root=self.data_root, search=self.search,
            columns=columns + ([LINEAR] if self.linear else []),
            metric=self.scorer.metric or task.metric, k=list(self.scorer.k), temperature=self.scorer.temperature,
            resize=self.resize, size=self.size, bn_reset=self.bn.mode, screen_bn=self.screen_bn.mode,
            bn_images=self.bn.num_images, batch_size=self.bn.batch_size, finalists=self.finalists,
            first_images=self.first_images, per_cluster=self.per_cluster, seed=self.bn.seed, on_error=self.on_error,
            baseline=None if self.baseline is None else str(self.baseline), candidates=list(self.candidates),
            classes=len(task.classes), images=len(task.labels), train=len(split.train), held_out=len(split.test),
            splits=len(task.splits), skipped=len(session.images) - len(session.readable))


def _load(place: str | Path, splits: int, seed: int, data_root: str | None, label_free: bool) -> Task:
    try:
        return load_task(place, splits=splits, seed=seed, data_root=data_root)
    except InputError:
        if not (label_free and Path(place).is_dir()):
            raise
    return Task.unlabeled(place)


def without_test(task: Task) -> Task:
    """The part of a task that routing may look at: where there are images to choose by, those to test on are gone."""
    if not task.classes:
        return task
    chosen = replace(task, splits=[Split(*split.choosing()) for split in task.splits])
    used = np.unique(np.concatenate([part for split in chosen.splits for part in (split.train, split.test)]))
    return chosen.without(sorted(set(range(len(task.paths))) - set(used.tolist())))


def with_linear(result: RoutingResult) -> dict[str, dict[str, float]]:
    """For each score of a ranking its rank correlation with linear accuracy, and the regret in points."""
    columns, rows = result.settings['columns'], sorted(result.subnets, key=lambda row: row.name)
    linear = [float(np.mean(row.others[LINEAR])) for row in rows]
    found = {}
    for column in columns:
        if column != LINEAR:
            scores = [row.score if column == columns[0] else float(np.mean(row.others[column])) for row in rows]
            correlation = rank_correlation(scores, linear)
            found[column] = dict(spearman=correlation.spearman, kendall=correlation.kendall,
                                 regret=regret(scores, linear), networks=float(len(rows)))
    return found
