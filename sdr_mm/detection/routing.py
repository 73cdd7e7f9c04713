"""Routing for detection: early stopping (section 5.2 of the paper)."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..evaluation.cells import network_fingerprint
from ..images import IMAGENET
from ..images.store import ImageStore
from ..models.sdr_resnet import SDRResNet
from ..registry import EVALUATORS
from ..routing.bn_source import BNReset
from ..routing.load_sdr import Pool
from ..routing.result import BASELINE_ROW, SUPERNET_ROW, Cost, RoutingResult, RoutingRow
from .backbone_config import check_file, check_layout, check_normalization, with_resnet, with_supernet
from .backbones import Backbones
from .candidate_race import Candidate, CandidateRace, Say
from .crops import images_task
from .detector_config import build_dataset, check_config
from .divergence import Diverged
from .fine_tuning import COLUMNS, FineTuning, Leg
from .race import race_rungs
from .race_record import claim, race_identity, weights_fingerprint
from .shortlist import Shortlist
from .workers import Workers, default_devices

RANDOM = 'random'
BACKBONE, RESULT = 'backbone.pth', 'routing.json'


@EVALUATORS.register_module()
class DetectionRoutingEvaluator:
    """Ranks sub-nets for a detection set by fine-tuning them for a few iterations.

    The list is shortened first (:class:`Shortlist`); the candidates then run a race inside the detector:
    all of them to a quarter of the iterations, the best half to a half, the best quarter to the end
    (:func:`race_rungs`). Learning rate, warm-up, images and augmentation of iteration ``i`` are those of the
    full schedule, the same for all of them. Super-net and baselines run to the end, to compare with.

    Everything is kept in ``work_dir``; the same call goes on where it was stopped, with the same result.
    A candidate whose loss or weights are no longer finite is left out and ranked last.

    Note:
        On a CPU, and for the same number of threads, a race that was interrupted gives bit by bit what an
        uninterrupted one gives. On GPUs some operators add up in no fixed order, interrupted or not.

    Args:
        config (Config): Of the full training of the detector, by iterations.
        work_dir (str | Path): The folder.
        iters (int): Iterations of those that stay to the end. Defaults to 1000, the paper's.
        shortlist (Shortlist, optional): Defaults to None, label-free, 8 candidates.
        halving (bool): Whether poor candidates leave early. Defaults to True.
        subnets (Sequence[int], optional): The candidates, without a shortlist. Defaults to None.
        baselines (Sequence[str]): Checkpoints of ResNets of the config's size, or ``'random'`` for random
            weights. The first one is the row ``'baseline'``. Defaults to ().
        supernet (bool): Whether the super-net takes part. Defaults to True.
        images (int, optional): Images in a batch of a candidate, which has one device for itself; the
            learning rate is scaled with it. Defaults to None: as many as the learning rate of the config is
            for (``auto_scale_lr.base_batch_size``), else the batch size of its loader.
        bn_reset (str): See :class:`BNReset`; ``'task'`` is the training images of the detector. Defaults to
            'cluster'.
        bn_images (int): Most images for BN reset. Defaults to 2000.
        batch_size (int): Images in a batch of BN reset and of the shortlist. Defaults to 200.
        resize (int): Short side of the images for both. Defaults to 256.
        size (int): Side of their center crop. Defaults to 224.
        seed (int): Of everything. Defaults to 0.
        save_every (int, optional): Iterations between two saves of a candidate's state. Defaults to None, a
            tenth of ``iters``.
        on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'`` it, in BN reset and
            shortlist. Defaults to 'stop'.
        workers (int): Threads that decode for both. Defaults to 2.
        devices (Sequence[str], optional): Of the race, see :class:`Workers`. Defaults to None: all GPUs, or
            the CPU.

    Raises:
        InputError: If an argument is out of range, or the config cannot be used.
    """

    def __init__(self,
                 config: Config,
                 work_dir: str | Path,
                 *,
                 iters: int = 1000,
                 shortlist: Shortlist | None = None,
                 halving: bool = True,
                 subnets: Sequence[int] | None = None,
                 baselines: Sequence[str] = (),
                 supernet: bool = True,
                 images: int | None = None,
                 bn_reset: str = 'cluster',
                 bn_images: int = 2000,
                 batch_size: int = 200,
                 resize: int = 256,
                 size: int = 224,
                 seed: int = 0,
                 save_every: int | None = None,
                 on_error: str = 'stop',
                 workers: int = 2,
                 devices: Sequence[str] | None = None) -> None:
        check_config(config, iters)
        race_rungs(1, iters, halving)
        base = (config.get('auto_scale_lr') or {}).get('base_batch_size') or config.train_dataloader.batch_size
        self.images = base if images is None else images
        if self.images < 1 or (save_every is not None and save_every < 1):
            raise InputError(f'need --images >= 1 and --save-every >= 1, got {self.images} and {save_every}')
        if subnets is not None and (not subnets or len(set(subnets)) < len(subnets)):
            raise InputError(f'--subnets are different numbers, got {" ".join(map(str, subnets)) or "none"}')
        if len(set(baselines)) < len(baselines):
            raise InputError(f'--baseline has the same network twice: {" ".join(baselines)}')
        self.config = config
        if self.images != base:
            self.config = copy.deepcopy(config)
            self.config.optim_wrapper.optimizer.lr *= self.images / base
        self.work_dir = Path(work_dir)
        self.iters, self.shortlist, self.halving, self.subnets = iters, shortlist or Shortlist(), halving, subnets
        self.baselines, self.supernet, self.seed = tuple(map(str, baselines)), supernet, seed
        self.bn = BNReset(bn_reset, bn_images, batch_size, seed)
        self.resize, self.size, self.on_error, self.workers = resize, size, on_error, workers
        self.save_every = save_every or max(1, iters // 10)
        self.devices = default_devices() if devices is None else list(devices)

    def needs_clusters(self, subnets: int) -> bool:
        """Whether the clusters of pre-training are needed, and so its images; ``subnets`` is the size of the space."""
        return self.bn.mode == 'cluster' or self._label_free(subnets)

    def needs_pool(self, subnets: int) -> bool:
        """Whether the images of pre-training are needed."""
        return self.needs_clusters(subnets) or self.bn.mode == 'all'

    def _label_free(self, subnets: int) -> bool:
        return self.subnets is None and self.shortlist.mode == 'label_free' and self.shortlist.shortens(subnets)

    def evaluate(self,
                 backbone: SDRResNet,
                 *,
                 pool: Pool | None = None,
                 mean: Sequence[float] = IMAGENET.mean,
                 std: Sequence[float] = IMAGENET.std,
                 say: Say = lambda text: None) -> RoutingResult:
        """Ranks sub-nets of ``backbone``; shortlist and BN reset run on its device.

        Args:
            backbone (SDRResNet): The SDRNet; it is not changed.
            pool (Pool, optional): Images of pre-training; see :meth:`needs_pool`. Defaults to None.
            mean (Sequence[float]): Normalization of the SDRNet's input, RGB, 0 to 255. Defaults to
                ImageNet's.
            std (Sequence[float]): The same.
            say (Callable): Is told the expected time, and each score as soon as it is there. Defaults to
                nobody.

        Returns:
            RoutingResult: Scores are AP in per cent on the validation set of the config, ``others`` has
            ``'AP50'``, ``'AP75'``, ``'iterations'`` and ``'shortlist'``. It is in ``work_dir`` too, as
            ``routing.json``.

        Raises:
            InputError: If something cannot be used, or all candidates diverge.
        """
        space = backbone.space
        if self.subnets is not None:
            for subnet in self.subnets:
                space.path(subnet)
        check_layout(self.config, backbone.subnet_config(), 'a sub-net of the checkpoint')
        check_normalization(self.config, mean, std)
        for spec in self.baselines:
            if spec != RANDOM:
                check_file(self.config, spec, '--baseline')
        if self.supernet:
            with_supernet(self.config, backbone, BACKBONE)
        if self.needs_pool(len(space)) and (pool is None or self.needs_clusters(len(space)) and pool.clusters is None):
            raise InputError('BN reset by cluster and the shortlist label_free need the images of pre-training and '
                             'their clusters: give them, or pass --bn-reset task and --shortlist knn_crops')
        dataset, held_out = (build_dataset(self.config, f'{part}_dataloader') for part in ('train', 'val'))
        fingerprint = weights_fingerprint(backbone)
        claim(self.work_dir, race_identity(
            self.config, checkpoint=fingerprint, images=self.images, bn=asdict(self.bn), resize=self.resize,
            size=self.size, on_error=self.on_error, shortlist=self.shortlist.settings))

        shortlist = self._shortlist(backbone, dataset, pool, mean, std, say)
        chosen = list(range(len(space)))
        if self.subnets is not None:
            chosen = list(self.subnets)
        elif shortlist is not None:
            chosen = [row.subnet for row in shortlist.subnets[:self.shortlist.candidates] if row.subnet is not None]
        task_paths = images_task(dataset, self._name).paths if self.bn.mode == 'task' else None
        backbones = Backbones(backbone, self.bn, pool, None if pool is None else self._store(pool.paths),
                              None if task_paths is None else self._store(task_paths), (mean, std))
        candidates = [self._subnet(backbones, index, fingerprint) for index in chosen]
        references = self._references(backbones, fingerprint)
        rungs = race_rungs(len(candidates), self.iters, self.halving)
        with Workers(self.devices) as workers:
            def leg(one: Candidate, stop: int, evaluates: bool) -> Leg:
                return Leg(one.name, one.folder, one.cfg, one.weights, stop, self.images, self.seed, self.save_every,
                           evaluates, bar=workers.here)

            race = CandidateRace(workers, leg, candidates, references, rungs, self.images, len(held_out), say)
            race.run()
        result = self._result(race, shortlist, space, len(dataset), len(held_out))
        result.save(self.work_dir / RESULT, overwrite=True)
        return result

    def folder(self, row: RoutingRow) -> Path:
        """Where the backbone and the state of a network are."""
        return self.work_dir / _slug(row.name)

    def _store(self, paths: Sequence[Any]) -> ImageStore:
        return ImageStore(paths, resize=self.resize, size=self.size, on_error=self.on_error, workers=self.workers)

    def _shortlist(self, backbone: SDRResNet, dataset: Any, pool: Pool | None, mean: Sequence[float],
                   std: Sequence[float], say: Say) -> RoutingResult | None:
        if self.subnets is not None or not self.shortlist.shortens(len(backbone.space)):
            return None
        file = self.work_dir / f'shortlist_{self.shortlist.mode}.json'
        if file.exists():
            return RoutingResult.load(file)
        found = self.shortlist.rank(
            backbone, dataset, self._name,
            images=dict(resize=self.resize, size=self.size, on_error=self.on_error, workers=self.workers,
                        seed=self.seed),
            bn=dict(bn_images=self.bn.num_images, batch_size=self.bn.batch_size),
            pool=pool, mean=mean, std=std, say=say)
        found.save(file)
        return found

    @property
    def _name(self) -> str:
        return Path(self.config.filename or 'detection').stem

    def _subnet(self, backbones: Backbones, index: int, fingerprint: str) -> Candidate:
        file = self.work_dir / _slug(f'sub-net {index}') / BACKBONE
        cfg = with_resnet(self.config, str(file), backbones.backbone.space.path(index))
        return self._candidate(f'sub-net {index}', cfg, f'{fingerprint} {index}',
                               lambda: backbones.subnet(index, file), index)

    def _references(self, backbones: Backbones, fingerprint: str) -> list[Candidate]:
        found = []
        if self.supernet:
            file = self.work_dir / _slug(SUPERNET_ROW) / BACKBONE
            found.append(self._candidate(SUPERNET_ROW, with_supernet(self.config, backbones.backbone, str(file)),
                                         fingerprint, lambda: backbones.supernet(file)))
        for number, spec in enumerate(self.baselines):
            random = spec == RANDOM
            cfg = with_resnet(self.config, None if random else str(Path(spec).absolute()))
            found.append(self._candidate(self._baseline_name(number), cfg,
                                         RANDOM if random else network_fingerprint(spec), lambda: 'own'))
        return found

    def _baseline_name(self, number: int) -> str:
        return BASELINE_ROW if number == 0 else self.baselines[number]

    def _candidate(self, name: str, cfg: Config, weights: str, prepare: Callable[[], str],
                   subnet: int | None = None) -> Candidate:
        folder = self.work_dir / _slug(name)
        record = FineTuning.load(folder, weights)
        bn = ''
        try:
            bn = prepare()
        except Diverged as error:
            record.diverged = str(error)
            record.save(folder)
        return Candidate(name, folder, cfg, weights, bn, subnet, record)

    def _result(self, race: CandidateRace, shortlist: RoutingResult | None, space: Any, train: int,
                held_out: int) -> RoutingResult:
        rungs, everyone = race.rungs, race.candidates + race.references
        known = {} if shortlist is None else {
            row.subnet: row.score if row.scores else row.shortlist for row in shortlist.subnets}
        rows = [self._row(one, race, space, known.get(one.subnet)) for one in everyone]
        raced = {one.subnet for one in race.candidates}
        if shortlist is not None:
            rows += [RoutingRow(row.name, row.subnet, row.path, '', [], left=len(rungs), shortlist=known[row.subnet],
                                others=dict(shortlist=[known[row.subnet]]))  # type: ignore[list-item]
                     for row in shortlist.subnets if row.subnet not in raced]
        iterations = sum(one.record.done for one in everyone)
        evaluations = sum(len(one.record.scores) for one in everyone)
        passes = float(iterations * self.images + evaluations * held_out)
        seconds = sum(one.record.seconds for one in everyone)
        if shortlist is not None:
            passes, seconds = passes + shortlist.cost.passes, seconds + shortlist.cost.seconds
        cost = Cost(passes, float((len(space) + len(race.references)) * (self.iters * self.images + held_out)),
                    round(seconds, 1), round(race.expected + (shortlist.cost.seconds if shortlist else 0), 1))
        shortcuts = [] if shortlist is None else [self.shortlist.sentence(len(space))]
        if len(rungs) > 1:
            shortcuts.append('candidates were halved: ' + ', '.join(
                f'{rung.candidates} to iteration {rung.stop}' for rung in rungs))
        full = self.config.train_cfg.max_iters
        if self.iters < full:
            shortcuts.append(f'fine-tuning stopped at iteration {self.iters} of {full}, with the learning rate of the '
                             f'full schedule')
        settings = dict(
            config=str(self.config.filename), columns=list(COLUMNS), iters=self.iters, max_iters=full,
            shortlist=None if shortlist is None else self.shortlist.mode, candidates=len(race.candidates),
            halving=self.halving, images=self.images, train=train, held_out=held_out,
            tested=self.config.val_dataloader.dataset == (self.config.get('test_dataloader') or {}).get('dataset'),
            iterations=iterations, subnets=len(space), baselines=list(self.baselines), devices=self.devices,
            diverged={one.name: one.record.diverged for one in everyone if one.record.diverged},
            bn_reset=self.bn.mode, bn_images=self.bn.num_images, batch_size=self.bn.batch_size, resize=self.resize,
            size=self.size, seed=self.seed, on_error=self.on_error, splits=1, folder=None)
        return RoutingResult.from_rows(self._name, rows, settings, cost, shortcuts)

    def _row(self, one: Candidate, race: CandidateRace, space: Any, shortlist: float | None) -> RoutingRow:
        path = None if one.subnet is None else list(space.path(one.subnet))
        others: dict[str, list[float]] = {} if shortlist is None else dict(shortlist=[shortlist])
        last = race.last.get(one.name)
        if one.record.diverged or last is None:
            return RoutingRow(one.name, one.subnet, path, one.bn, [], others, left=len(race.rungs) + 1, shortlist=0.0)
        scores = one.record.scores[last]
        others.update({column: [scores[column]] for column in COLUMNS[1:]}, iterations=[float(last)])
        left = sum(rung.stop > last for rung in race.rungs)
        return RoutingRow(one.name, one.subnet, path, one.bn, [scores['AP']], others, left,
                          scores['AP'] if left else None)


def _slug(name: str) -> str:
    return re.sub(r'[^\w.-]+', '_', name).strip('_')
