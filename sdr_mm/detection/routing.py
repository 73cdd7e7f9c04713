"""Routing for detection: early stopping (section 5.2 of the paper)."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..datasets.pool import Pool
from ..engine.work_dir import claim, flatten
from ..errors import InputError, NotFiniteError
from ..files import atomic_write
from ..images import IMAGENET, ImageStore, Normalization
from ..models.backbone import SDRBackbone
from ..models.checkpoints import load_resnet, weights_fingerprint
from ..models.eval_settings import EvalSettings
from ..registry import EVALUATORS
from ..routing import BNImages, BNReset, Cost, RankedNetwork, Ranking, export_subnet, extract_subnet
from ..routing.bn_reset import OWN
from ..routing.ranking import BASELINE_ROW, SUPERNET_ROW
from . import detector_config as configs
from .devices import Devices
from .fine_tuning import FineTuning, is_finite
from .race import Candidate, Race, describe, race_steps
from .ranking import DetectionRanking
from .shortlist import Shortlist, images_task
from .voc import COLUMNS

RANDOM = 'random'
BACKBONE = 'backbone.pth'
SECTIONS = ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler')
FREE = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')
"""Entries of a loader that another computer may need otherwise."""


@EVALUATORS.register_module()
class DetectionRoutingEvaluator:
    """Ranks sub-nets for a detection set by fine-tuning them for a few iterations.

    The list is shortened first (:class:`Shortlist`); the candidates then run a race inside the detector: all of them
    to a quarter of the iterations, the best half to a half, the best quarter to the end. Learning rate and warm-up of
    iteration ``i`` are those of the full schedule, and all networks see the same images. Super-net and baselines run
    to the end, to compare with.

    Everything is kept in ``work_dir``. The same call resumes with the last part that each network has finished; on
    a CPU, with as many threads, it ends in the same result. A candidate whose loss or weights are no longer finite is
    left out and ranked last.

    Args:
        config (Config): Of the full training of the detector, by iterations.
        work_dir (str | Path): The folder.
        iters (int): Iterations of those that stay to the end. Defaults to 1000, the paper's.
        shortlist (Shortlist, optional): What chooses the candidates. Defaults to None, label-free, 8 of them.
        halving (bool): Whether poor candidates are eliminated early. Defaults to True.
        subnets (Sequence[int], optional): The candidates, without a shortlist. Defaults to None.
        baselines (Sequence[str]): Checkpoints of networks of the config's size, or ``'random'`` for random
            weights. The first one is called ``'baseline'``. Defaults to ().
        supernet (bool): Whether the super-net takes part. Defaults to True.
        images (int, optional): Images in a batch; the learning rate is scaled with it. Defaults to None: as many as
            the learning rate of the config is for (``auto_scale_lr.base_batch_size``), else those of its loader.
        bn (BNReset | str): Images of the BN statistics that backbones start with; ``'task'`` is the training
            images of the detector. Defaults to 'cluster'.
        resize (int): Short side of the images for shortlist and BN reset, in pixels. Defaults to 256.
        size (int): Side of their center crop. Defaults to 224.
        seed (int): Of heads, images, augmentations and boxes drawn. Defaults to 0.
        on_error (str): ``'stop'`` or ``'skip'`` where one of them cannot be decoded. Defaults to 'stop'.
        workers (int): Threads that decode them. Defaults to 2.
        devices (Sequence[str], optional): ``'cpu'``, ``'cuda:0'``, …, one network each at a time; one may be there
            several times. Defaults to None: all GPUs, or the CPU.

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
                 bn: BNReset | str = 'cluster',
                 resize: int = 256,
                 size: int = 224,
                 seed: int = 0,
                 on_error: str = 'stop',
                 workers: int = 2,
                 devices: Sequence[str] | None = None) -> None:
        configs.check_config(config, iters)
        race_steps(1, iters, halving)
        base = (config.get('auto_scale_lr') or {}).get('base_batch_size') or config.train_dataloader.batch_size
        self.images = base if images is None else images
        if self.images < 1:
            raise InputError(f'need --images >= 1, got {self.images}')
        if subnets is not None and (not subnets or len(set(subnets)) < len(subnets)):
            raise InputError(f'--subnets are different numbers, got {" ".join(map(str, subnets)) or "none"}')
        if len(set(baselines)) < len(baselines):
            raise InputError(f'--baseline has the same network twice: {" ".join(baselines)}')
        self.config, self.name = config, Path(config.filename or 'detection').stem
        if self.images != base:
            self.config = copy.deepcopy(config)
            self.config.optim_wrapper.optimizer.lr *= self.images / base
        self.work_dir = Path(work_dir)
        self.iters, self.shortlist, self.halving, self.subnets = iters, shortlist or Shortlist(), halving, subnets
        self.baselines, self.supernet, self.seed = tuple(map(str, baselines)), supernet, seed
        self.bn = BNReset(bn, seed=seed) if isinstance(bn, str) else bn
        self.image_options: dict[str, Any] = dict(resize=resize, size=size, on_error=on_error)
        self.workers = workers
        self.devices = Devices(devices)

    def needs_clusters(self, subnets: int) -> bool:
        """Whether the clusters of pre-training are needed, and so its images; ``subnets`` is the size of the space."""
        label_free = self.shortlist.mode == 'label_free' and self.shortlist.shortens(subnets)
        return self.bn.mode == 'cluster' or self.subnets is None and label_free

    def needs_pool(self, subnets: int) -> bool:
        """Whether the images of pre-training are needed."""
        return self.needs_clusters(subnets) or self.bn.mode == 'all'

    def evaluate(self, backbone: SDRBackbone, *, pool: Pool | None = None,
                 normalization: Normalization = IMAGENET) -> DetectionRanking:
        """Ranks sub-nets of ``backbone``; shortlist and BN reset run on its device.

        Args:
            backbone (SDRBackbone): The SDRNet; it is not changed.
            pool (Pool, optional): Images of pre-training; see :meth:`needs_pool`. Defaults to None.
            normalization (Normalization): Of the SDRNet's input. Defaults to ImageNet's.

        Returns:
            DetectionRanking: Scores are AP in per cent on the validation set of the config, ``others`` has ``'AP50'``,
            ``'AP75'``, ``'iterations'`` and ``'shortlist'``. ``routing.json`` in ``work_dir`` is the same.

        Raises:
            InputError: If something cannot be used, or all candidates diverge.
        """
        space = backbone.space
        for subnet in self.subnets or ():
            space.path(subnet)
        configs.check_backbone(self.config, backbone.subnet_config(), 'a sub-net of the checkpoint')
        configs.check_normalization(self.config, normalization)
        if self.needs_pool(len(space)) and (pool is None or self.needs_clusters(len(space)) and pool.clusters is None):
            raise InputError('BN reset by cluster and the shortlist label_free need the images of pre-training and '
                             'their clusters: give them, or pass --bn-reset task and --shortlist knn_crops')
        dataset, held_out = (configs.build_dataset(self.config, f'{part}_dataloader') for part in ('train', 'val'))
        claim(self.work_dir, self._identity(backbone), 'routing')

        references = self._references(backbone)
        shortlist = self._shortlist(backbone, dataset, pool, normalization)
        chosen = range(len(space)) if self.subnets is None else self.subnets
        if shortlist is not None:
            chosen = [network.subnet for network in shortlist.subnets[:self.shortlist.candidates]
                      if network.subnet is not None]
        candidates = []
        for index in chosen:
            name = f'sub-net {index}'
            cfg = configs.with_backbone(self.config, str(self._folder(name) / BACKBONE), space.path(index))
            candidates.append(self._candidate(name, cfg, index))
        self._write_backbones(backbone, candidates + [one for one in references if one.name == SUPERNET_ROW],
                              dataset, pool, normalization)
        race = Race(candidates, references, race_steps(len(candidates), self.iters, self.halving), self.images,
                    self.seed)
        with self.devices:
            race.run(self.devices)
        found = self._ranking(race, shortlist, backbone, len(dataset), len(held_out))
        found.save(self.work_dir / 'routing.json', overwrite=True)
        return found

    def folder(self, network: RankedNetwork) -> Path:
        """Where the backbone, the checkpoint and the logs of a network are."""
        return self._folder(network.name)

    def checkpoint(self, network: RankedNetwork) -> Path:
        """With which the full training of the detector can be resumed; there is none if it was eliminated."""
        return FineTuning.load(self.folder(network)).checkpoint(self.folder(network))

    def _folder(self, name: str) -> Path:
        return self.work_dir / re.sub(r'[^\w.-]+', '_', name).strip('_')

    def _identity(self, backbone: SDRBackbone) -> dict[str, Any]:
        """What the scores depend on, beside the number of iterations."""
        cfg = self.config.to_dict()
        content = {name: cfg.get(name) for name in SECTIONS} | self.image_options
        return flatten(dict(content, max_iters=cfg['train_cfg']['max_iters'], checkpoint=weights_fingerprint(backbone),
                            images=self.images, seed=self.seed, bn=asdict(self.bn),
                            shortlist=self.shortlist.settings), leave_out=FREE)

    def _candidate(self, name: str, cfg: Config, subnet: int | None = None) -> Candidate:
        return Candidate(name, self._folder(name), cfg, subnet, FineTuning.load(self._folder(name)))

    def _references(self, backbone: SDRBackbone) -> list[Candidate]:
        """Super-net and baselines."""
        found = []
        if self.supernet:
            wide = configs.with_supernet(self.config, backbone, str(self._folder(SUPERNET_ROW) / BACKBONE))
            found.append(self._candidate(SUPERNET_ROW, wide))
        for number, spec in enumerate(self.baselines):
            file: str | None = None
            weights = RANDOM
            if spec != RANDOM:
                network, info = load_resnet(spec, '--baseline')
                configs.check_backbone(self.config, info['config'], f'--baseline {spec}')
                file, weights = str(Path(spec).absolute()), weights_fingerprint(network)
            one = self._candidate(BASELINE_ROW if number == 0 else spec, configs.with_backbone(self.config, file))
            claim(one.folder, dict(weights=weights), 'baseline')
            if not one.record.bn:
                one.record.bn = OWN
                one.record.save(one.folder)
            found.append(one)
        return found

    def _write_backbones(self, backbone: SDRBackbone, networks: Sequence[Candidate], dataset: Any, pool: Pool | None,
                         normalization: Normalization) -> None:
        """Writes those that are not there yet, with their own BN statistics, and notes which cannot be used."""
        missing = [network for network in networks if not network.record.diverged
                   and not (network.record.bn and (network.folder / BACKBONE).exists())]
        if not missing:
            return
        of_task = self.bn.mode == 'task'
        paths = images_task(dataset, self.name).paths if of_task else [] if pool is None else pool.paths
        store = ImageStore(paths, workers=self.workers, **self.image_options)
        images = (BNImages(store, store.read_all('reading images')) if of_task else
                  BNImages(pool=pool, pool_store=store))
        settings = EvalSettings(normalization, self.image_options['resize'], self.image_options['size'])
        for network in missing:
            try:
                network.record.bn = write_backbone(backbone, network.subnet, network.folder / BACKBONE, self.bn,
                                                   images, settings)
            except NotFiniteError as error:
                network.record.diverged = str(error).partition(':')[0]
            network.record.save(network.folder)

    def _shortlist(self, backbone: SDRBackbone, dataset: Any, pool: Pool | None,
                   normalization: Normalization) -> Ranking | None:
        if self.subnets is not None or not self.shortlist.shortens(len(backbone.space)):
            return None
        file = self.work_dir / f'shortlist_{self.shortlist.mode}.json'
        if file.exists():
            return Ranking.load(file)
        found = self.shortlist.rank(backbone, dataset, self.name, bn=self.bn, pool=pool, normalization=normalization,
                                    images=dict(self.image_options, workers=self.workers))
        found.save(file)
        return found

    def _ranking(self, race: Race, shortlist: Ranking | None, backbone: SDRBackbone, train: int,
                 held_out: int) -> DetectionRanking:
        steps, everyone, space = race.steps, race.candidates + race.references, backbone.space
        known = {} if shortlist is None else {network.subnet: network.score if network.scores else network.screening
                                              for network in shortlist.subnets}
        networks = [self._ranked(one, race, space, known.get(one.subnet)) for one in everyone]
        raced = {one.subnet for one in race.candidates}
        if shortlist is not None:
            networks += [RankedNetwork(one.name, one.subnet, one.path, '', [], _shortlisted(known[one.subnet]),
                                       eliminated=len(steps), screening=known[one.subnet])
                         for one in shortlist.subnets if one.subnet not in raced]
        iterations = sum(one.record.done for one in everyone)
        evaluations = sum(len(one.record.scores) for one in everyone)
        before = Cost(0, 0, 0) if shortlist is None else shortlist.cost
        cost = Cost(iterations * self.images + evaluations * held_out + before.passes,
                    float((len(space) + len(race.references)) * (self.iters * self.images + held_out)),
                    round(sum(one.record.seconds for one in everyone) + before.seconds, 1))
        shortcuts = [] if shortlist is None else [self.shortlist.sentence(len(space))]
        if len(steps) > 1:
            shortcuts.append(f'candidates were halved: {describe(steps)}')
        full = self.config.train_cfg.max_iters
        if self.iters < full:
            shortcuts.append(f'fine-tuning stopped at iteration {self.iters} of {full}, with the learning rate of the '
                             f'full schedule')
        settings = dict(
            self.image_options, config=str(self.config.filename), columns=list(COLUMNS), iters=self.iters,
            max_iters=full, shortlist=None if shortlist is None else self.shortlist.mode,
            candidates=len(race.candidates), halving=self.halving, batch=self.images, images=train, train=train,
            held_out=held_out, classes=0, search='race', splits=1, seed=self.seed,
            checkpoint=weights_fingerprint(backbone),
            tested=self.config.val_dataloader.dataset == (self.config.get('test_dataloader') or {}).get('dataset'),
            iterations=iterations, subnets=len(space), baselines=list(self.baselines), devices=list(self.devices.names),
            diverged={one.name: one.record.diverged for one in everyone if one.record.diverged},
            bn_reset=self.bn.mode, bn_images=self.bn.num_images, batch_size=self.bn.batch_size)
        ranking = DetectionRanking.of(self.name, networks, settings, cost, shortcuts)
        assert isinstance(ranking, DetectionRanking)
        return ranking

    def _ranked(self, one: Candidate, race: Race, space: Any, shortlist: float | None) -> RankedNetwork:
        path = None if one.subnet is None else list(space.path(one.subnet))
        others, last = _shortlisted(shortlist), race.last.get(one.name)
        if one.record.diverged or last is None:
            return RankedNetwork(one.name, one.subnet, path, one.record.bn, [], others, len(race.steps) + 1, 0.0)
        scores = one.record.scores[last]
        others.update({column: [scores[column]] for column in COLUMNS if column != 'AP'}, iterations=[float(last)])
        eliminated = sum(step.stop > last for step in race.steps)
        return RankedNetwork(one.name, one.subnet, path, one.record.bn, [scores['AP']], others, eliminated,
                             scores['AP'] if eliminated else None)


def write_backbone(backbone: SDRBackbone, subnet: int | None, file: Path, bn: BNReset, images: BNImages,
                   settings: EvalSettings) -> str:
    """Writes a sub-net, or the super-net (None), with BN statistics of its own as a file that a detector starts from.

    Statistics are measured on the device of ``backbone``, which is not changed. Returns what they come from:
    ``'cluster 7'``, ``'pool'``, ``'task'`` or ``'own'``. If weights or activations are not finite, nothing is written
    but a NotFiniteError raised.
    """
    path = None if subnet is None else backbone.space.path(subnet)
    network = copy.deepcopy(backbone).eval() if path is None else extract_subnet(backbone, path)
    if not is_finite(network):
        raise NotFiniteError('weights are not finite in the checkpoint: take an earlier one')
    source, count = bn.apply(network, images, subnet, settings.normalization, bar=True)
    meta = dict(bn_reset=dict(asdict(bn), statistics=source, images=count), settings=settings.record())
    if path is not None:
        export_subnet(network, file, config=backbone.subnet_config(), overwrite=True,
                      meta=dict(meta, subnet=subnet, path=list(path)))
    else:
        state = {key: value.cpu() for key, value in network.state_dict().items()}
        with atomic_write(file, overwrite=True) as temporary:
            torch.save(dict(state_dict=state, meta=meta), temporary)
    return source


def _shortlisted(score: float | None) -> dict[str, list[float]]:
    return {} if score is None else dict(shortlist=[score])
