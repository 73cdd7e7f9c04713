"""The front door: from a checkpoint to the backbone for a task, without configs.

::

    sdr = sdr_mm.load('epoch_200.pth', device='cuda')
    ranking = sdr.route('my_images', search='halving', bn='task', splits=5)
    sdr.report(ranking, 'routing.html')
    net = sdr.subnet(ranking.best)
    net.features('my_images')
    net.export('backbone.pth')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .datasets.pool import Pool, load_pool
from .distributed import choose_device
from .errors import InputError, naming
from .evaluation.features import pooled_features
from .evaluation.task import Task
from .export import Exported, Pretraining, export
from .files import check_output
from .images import ImageSource, ImageStore, find_images
from .models.backbone import SDRBackbone, check_rgb
from .models.checkpoints import weights_fingerprint
from .models.eval_settings import EvalSettings
from .models.load_sdr import load_sdr_and_meta
from .routing.bn_reset import BNImages, BNReset
from .routing.evaluator import RoutingEvaluator, build_search, task_at
from .routing.export_command import export_command
from .routing.feature_extractor import may_look_at, read_task
from .routing.nearest import nearest_images
from .routing.ranking import RankedNetwork, Ranking
from .routing.scores import Scorer
from .routing.strategies import Search
from .routing.subnet import extract_subnet
from .space import Path as Groups
from .space import SubnetSpace

if TYPE_CHECKING:  # It imports matplotlib.
    from .visualization.routing_page import Gallery

BN_OPTIONS = dict(bn_images='num_images', batch_size='batch_size', seed='seed')
"""Options of the BN reset, and what :class:`BNReset` calls them."""

Images = str | Path | Task | Sequence[ImageSource]
"""A folder, a task, or image files and arrays ``(H, W, 3)`` uint8 RGB."""


def load(file: str | Path, device: str | torch.device | None = None) -> SDR:
    """Loads the SDRNet of a checkpoint.

    Args:
        file (str | Path): What ``tools/train.py`` wrote with an SDR config, or ``'pool-r18'``, the one that ships:
            16 small sub-nets for pictures of 32 pixels, without the images of pre-training, so with ``bn='task'``.
        device (str | torch.device, optional): Where it shall run. Defaults to None: a GPU if there is one.

    Raises:
        InputError: If it is something else, or there is no such device.
    """
    backbone, config, meta = load_sdr_and_meta(file)
    with naming(str(file)):
        settings = EvalSettings.of(config)
    chosen = choose_device(None if device is None else str(device))
    return SDR(Path(file), backbone.to(chosen), config, settings, Pretraining.of(config, meta))


@dataclass(frozen=True, eq=False)
class SDR:
    """A super-net and its sub-nets, with all that their checkpoint knows; see :func:`load`.

    Args:
        file (Path): The checkpoint.
        backbone (SDRBackbone): In evaluation mode, on the device where everything runs.
        config (dict): Of the training, as the checkpoint stores it.
        settings (EvalSettings): Normalization and size of the input, and neighbors of kNN, that fit it.
        pretraining (Pretraining): What the checkpoint says of its training, for model cards. Defaults to nothing.
    """

    file: Path
    backbone: SDRBackbone = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    settings: EvalSettings
    pretraining: Pretraining = field(default=Pretraining(), repr=False)

    @property
    def space(self) -> SubnetSpace:
        """The paths of the sub-nets."""
        return self.backbone.space

    @cached_property
    def fingerprint(self) -> str:
        """Stands for all weights."""
        return weights_fingerprint(self.backbone)

    def pool(self, data: str | Path | None = None, clusters: str | Path | None = None,
             need_clusters: bool = True) -> Pool:
        """The images of pre-training and their clusters.

        Args:
            data (str | Path, optional): Folder of the images. Defaults to None: as the checkpoint names it.
            clusters (str | Path, optional): The ``clusters.npz``. Defaults to None: as the checkpoint names it.
            need_clusters (bool): Whether to read clusters at all. Defaults to True.

        Raises:
            InputError: If they are not there, or do not fit each other or the space.
        """
        return load_pool(self.config, self.space, data=data, clusters=clusters, need_clusters=need_clusters,
                         where=self.file)

    def route(self,
              task: Task | str | Path,
              *,
              search: str | Search = 'exact',
              bn: str | BNReset = 'cluster',
              splits: int = 1,
              scores: Sequence[str] = ('knn', ),
              k: int | Sequence[int] | None = None,
              temperature: float = 0.07,
              metric: str | None = None,
              linear: bool = False,
              baseline: str | Path | None = None,
              candidates: Sequence[str] = (),
              resize: int | None = None,
              size: int | None = None,
              seed: int = 0,
              data: str | Path | None = None,
              clusters: str | Path | None = None,
              data_root: str | Path | None = None,
              on_error: str = 'stop',
              workers: int = 2,
              **options: Any) -> Ranking:
        """Ranks all sub-nets for a task; see :class:`~sdr_mm.routing.RoutingEvaluator`. All ranks must call.

        Args:
            task (Task | str | Path): A folder with one sub-folder a class, a task config, or a task.
            search (str | Search): ``'exact'``, ``'screen'``, ``'halving'`` or ``'label_free'``. Defaults to 'exact'.
            bn (str | BNReset): Images of the BN statistics: each sub-net's ``'cluster'``, those of the ``'task'``,
                ``'all'`` of pre-training, or ``'none'``. Defaults to 'cluster'.
            splits (int): Random splits of a folder that has none of its own. Defaults to 1.
            scores (Sequence[str]): ``'knn'``, ``'logme'``, ``'h_score'``, ``'transrate'``; the first one ranks.
                Defaults to ('knn', ).
            k (int | Sequence[int], optional): Neighbors of kNN. Defaults to None: what fits the checkpoint.
            temperature (float): ``T`` of kNN. Defaults to 0.07.
            metric (str, optional): Defaults to None, the task's.
            linear (bool): Whether to report how well each score predicts linear accuracy. Defaults to False.
            baseline (str | Path, optional): A network to compare with. Defaults to None.
            candidates (Sequence[str]): More of them, for example ``'timm:resnet50'``. Defaults to ().
            resize (int, optional): Short side of the images in pixels. Defaults to None: what fits the checkpoint.
            size (int, optional): Side of the center crop. Defaults to None: what fits the checkpoint.
            seed (int): Of random splits and of the choice of images. Defaults to 0.
            data (str | Path, optional): As for :meth:`pool`.
            clusters (str | Path, optional): As for :meth:`pool`.
            data_root (str | Path, optional): Folder in place of ``data`` in the config of a task.
            on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'``. Defaults to 'stop'.
            workers (int): Threads that decode. Defaults to 2.
            **options: Of the search (``finalists``, ``first_images``, ``screen_bn``, ``per_cluster``,
                ``share_prefixes``), and ``bn_images`` and ``batch_size`` of the BN reset.

        Returns:
            Ranking: Prints as a table; ``ranking.best`` goes to :meth:`subnet`.

        Raises:
            InputError: If an argument is out of range, or images, clusters or features cannot be used.
        """
        if isinstance(bn, str):
            bn = bn_reset(bn, dict(seed=seed, **{name: options.pop(name) for name in ('bn_images', 'batch_size')
                                                 if name in options}))
        if isinstance(search, str):
            if 'screen_bn' in options:
                options['bn'] = options.pop('screen_bn')
            search, options = build_search(dict(options, type=search)), {}
        if options:
            raise InputError(f'unknown options of routing: {", ".join(sorted(options))}')
        source: Any = task if isinstance(task, Task) else dict(
            source=task, splits=splits, seed=seed, data_root=None if data_root is None else str(data_root))
        fits = self.settings.but(resize=resize, size=size)
        evaluator = RoutingEvaluator(
            source, search=search, bn=bn, baseline=baseline, candidates=candidates, resize=fits.resize, size=fits.size,
            scorer=Scorer(tuple(scores), self.settings.k if k is None else k, temperature, metric, linear),
            on_error=on_error, workers=workers)
        pool = self.pool(data, clusters, evaluator.needs_clusters) if evaluator.needs_pool else None
        ranking = evaluator.evaluate(self.backbone, pool=pool, normalization=self.settings.normalization)
        return replace(ranking, settings=dict(ranking.settings, checkpoint=self.fingerprint))

    def _check_ranking(self, settings: Mapping[str, Any], advice: str) -> None:
        if settings.get('checkpoint', self.fingerprint) != self.fingerprint:
            raise InputError(f'the ranking is of another checkpoint than {self.file}: {advice}')

    def report(self, ranking: Ranking, file: str | Path, *, routing: str | Path | None = None,
               task: Task | str | Path | None = None, data: str | Path | None = None,
               clusters: str | Path | None = None, workers: int = 2, overwrite: bool = False) -> None:
        """Writes a ranking as one HTML file that needs nothing else.

        It has the ranks, the gains with error bars, images of the best sub-nets' clusters beside those of the task
        that are nearest to them, the cost, and the command that exports. Where the images of pre-training or of the
        task are not known it says so in their place.

        Args:
            ranking (Ranking): What :meth:`route` gave, or :meth:`Ranking.load <sdr_mm.routing.Ranking.load>`.
            file (str | Path): The file to write, such as ``'routing.html'``.
            routing (str | Path, optional): Where the ranking is saved, for the command. Defaults to None: nowhere.
            task (Task | str | Path, optional): Defaults to None: the task of the ranking.
            data (str | Path, optional): As for :meth:`pool`.
            clusters (str | Path, optional): As for :meth:`pool`.
            workers (int): Threads that decode. Defaults to 2.
            overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

        Raises:
            InputError: If the ranking is of another checkpoint, images that were given cannot be used, or the file
                cannot be written.
        """
        from .visualization.routing_page import routing_page
        check_output(file, overwrite)
        self._check_ranking(ranking.settings, 'load that one')

        try:
            galleries: list[Gallery] | str = self._galleries(ranking, task, data, clusters, workers)
        except InputError as error:
            # What was asked for must be; what the checkpoint and the ranking name may be gone.
            if not (task is None and data is None and clusters is None):
                raise
            galleries = str(error)
        name = None if isinstance(task, Task) else task
        command = export_command(ranking, self.file, routing=routing, task=name, data=data, clusters=clusters)
        routing_page(ranking, file, command=command, galleries=galleries, overwrite=overwrite)

    def _galleries(self, ranking: Ranking, task: Task | str | Path | None, data: str | Path | None,
                   clusters: str | Path | None, workers: int) -> list[Gallery]:
        """Images of the best sub-nets' clusters beside those of the task; an InputError if they are not there."""
        from .visualization.routing_page import make_galleries, shown_clusters
        pool = load_pool(self.config, self.space, data=data, clusters=clusters, where=self.file, purpose='a gallery')
        seen = may_look_at(task_of(ranking, task, purpose='pictures of the task',
                                   unlabeled=not ranking.settings['classes']))
        check_rgb(self.backbone.in_channels, self.file, values=len(self.settings.normalization.mean))
        fits = self.settings.but(resize=ranking.settings['resize'], size=ranking.settings['size'])
        nearest = nearest_images(self.backbone, pool, seen, list(shown_clusters(ranking, pool)), workers=workers,
                                 normalization=fits.normalization, resize=fits.resize, size=fits.size)
        return make_galleries(ranking, pool, seen, nearest)

    def subnet(self,
               which: RankedNetwork | int | Sequence[int],
               *,
               bn: str | BNReset | None = None,
               task: Task | str | Path | None = None,
               data: str | Path | None = None,
               clusters: str | Path | None = None,
               resize: int | None = None,
               size: int | None = None,
               on_error: str | None = None,
               workers: int = 2,
               **options: Any) -> Subnet:
        """Cuts out a sub-net, with BN statistics of its own.

        A network of a ranking gets those that it was ranked with, measured again on the same images. Other
        statistics have to be asked for: ``bn='none'`` keeps the super-net's, which are a mixture of all sub-nets'.

        Args:
            which (RankedNetwork | int | Sequence[int]): ``ranking.best``, the index of a sub-net, or its path.
            bn (str | BNReset, optional): As for :meth:`route`. Defaults to None: as it was ranked, or ``'cluster'``
                for an index or a path.
            task (Task | str | Path, optional): For ``bn='task'``. Defaults to None: the task of the ranking.
            data (str | Path, optional): As for :meth:`pool`.
            clusters (str | Path, optional): As for :meth:`pool`.
            resize (int, optional): Short side of the images. Defaults to None: as it was ranked, or what fits the
                checkpoint.
            size (int, optional): Side of their center crop. The same.
            on_error (str, optional): ``'stop'`` or ``'skip'``. Defaults to None: as it was ranked, or 'stop'.
            workers (int): Threads that decode. Defaults to 2.
            **options: ``bn_images``, ``batch_size`` and ``seed`` of the BN reset. Default to those of the ranking.

        Raises:
            InputError: If there is no such sub-net or option, the ranking is of another checkpoint, or the images for
                the statistics are not there.
        """
        ranking = which.ranking if isinstance(which, RankedNetwork) else None
        if isinstance(which, RankedNetwork):
            if which.path is None:
                raise InputError(f'{which.name} is no sub-net: give ranking.best, or another sub-net of the ranking')
            path = self.space.check(which.path)
        else:
            path = self.space.path(int(which)) if isinstance(which, (int, np.integer)) else self.space.check(which)
        index = self.space.index(path)
        ranked = {} if ranking is None else ranking.settings
        self._check_ranking(ranked, 'load that one, or name the sub-net by its index or path')
        unknown = sorted(options if isinstance(bn, BNReset) else set(options) - set(BN_OPTIONS))
        if unknown:
            raise InputError(f'unknown options of a sub-net: {", ".join(unknown)}; with bn=MODE there are '
                             f'{", ".join(BN_OPTIONS)}')
        reset = bn if isinstance(bn, BNReset) else bn_reset(bn, dict(ranked, **options))
        fits = self.settings.but(resize=ranked.get('resize'), size=ranked.get('size')).but(resize=resize, size=size)
        reading: dict[str, Any] = dict(resize=fits.resize, size=fits.size, workers=workers,
                                       on_error=on_error or ranked.get('on_error', 'stop'))
        images = BNImages()
        if reset.mode != 'none':
            check_rgb(self.backbone.in_channels, self.file, values=len(self.settings.normalization.mean))
        if reset.mode == 'task':
            training, store, readable = read_task(task_of(ranking, task), **reading)
            images = BNImages(store, readable[training.train_images])
        elif reset.mode != 'none':
            pool = self.pool(data, clusters, reset.mode == 'cluster')
            images = BNImages(pool=pool, pool_store=ImageStore(pool.paths, **reading))
        network = extract_subnet(self.backbone, path)
        source, count = reset.apply(network, images, index, self.settings.normalization, bar=True)
        meta: dict[str, Any] = dict(sdr_checkpoint=self.file.name, subnet=index, path=list(path),
                                    bn_reset=dict(asdict(reset), statistics=source, images=count))
        if ranking is not None and isinstance(which, RankedNetwork):
            meta['routing'] = dict(task=ranking.task, score=which.score if which.scores else None,
                                   settings=ranking.settings)
        return Subnet(network, self.backbone.subnet_config(), index, path, source, fits, meta, self.pretraining)


@dataclass(frozen=True, eq=False)
class Subnet:
    """A sub-net as a plain network, with BN statistics of its own; see :meth:`SDR.subnet`.

    Args:
        network (nn.Module): A stock network, for example MMPretrain's ResNet, in evaluation mode.
        config (dict): Its config.
        index (int): Number of the sub-net.
        path (tuple[int, …]): Its path.
        bn (str): What its BN statistics come from: ``'cluster 7'``, ``'pool'``, ``'task'``, or ``'own'`` for the
            super-net's.
        settings (EvalSettings): Normalization and size of its input.
        meta (dict): What :meth:`export` notes beside the weights.
        pretraining (Pretraining): What its checkpoint says of its training. Defaults to nothing.
    """

    network: nn.Module = field(repr=False)
    config: dict[str, Any]
    index: int
    path: Groups
    bn: str
    settings: EvalSettings
    meta: dict[str, Any] = field(repr=False)
    pretraining: Pretraining = field(default=Pretraining(), repr=False)

    def __call__(self, images: Tensor) -> Any:
        """Feature maps of images ``(N, 3, H, W)`` that are normalized already."""
        return self.network(images)

    def features(self, images: Images, *, batch_size: int = 200, on_error: str = 'stop', workers: int = 2) -> Tensor:
        """Pooled features of images, prepared as the checkpoint wants them.

        Args:
            images (str | Path | Task | Sequence): A folder, whose images come in the order of their paths, a task, or
                image files and arrays.
            batch_size (int): Images in a batch. Defaults to 200.
            on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'``. Defaults to 'stop'.
            workers (int): Threads that decode. Defaults to 2.

        Returns:
            Tensor: (n, C) float32 on the network's device.

        Raises:
            InputError: If there are no images, or one cannot be decoded.
        """
        fits = self.settings
        check_rgb(self.config.get('in_channels', 3), f'sub-net {self.index}', values=len(fits.normalization.mean))
        store = ImageStore(image_files(images), resize=fits.resize, size=fits.size, on_error=on_error, workers=workers)
        numbers = store.read_all()
        if not len(numbers):
            raise InputError('no image can be decoded: give other images')
        batches = store.batches(numbers, batch_size, mean=fits.normalization.mean, std=fits.normalization.std,
                                device=next(self.network.parameters()).device)
        return pooled_features(self.network, batches)

    def exported(self, license: str | None = None) -> Exported:
        """What :func:`sdr_mm.export.export` writes, with the license of the weights if it is known."""
        if license is not None and not license.strip():
            raise InputError('a license is an SPDX identifier such as Apache-2.0, or a text, got an empty one')
        return Exported(self.network, self.config, self.settings, self.meta, self.pretraining, license)

    def export(self, file: str | Path, format: str = 'mmpretrain', *, card: str | Path | None = None,
               license: str | None = None, overwrite: bool = False) -> None:
        """Writes the sub-net for a library, and reads it back.

        The weights carry the BN statistics that this sub-net has (:attr:`bn`), which are noted beside them where the
        format has a place for it.

        Args:
            file (str | Path): The file to write, or the folder for ``'huggingface'``.
            format (str): ``'mmpretrain'``, which MMDetection loads too, and this package; ``'mmdet'``, the same file;
                ``'torchvision'``, ``'timm'``: a state dict; ``'safetensors'``; ``'onnx'``, ``'torch.export'``: a graph
                from normalized images to pooled features; ``'huggingface'``: a folder that timm loads.
                Defaults to 'mmpretrain'.
            card (str | Path, optional): File of the model card in Markdown. Defaults to None: none, but in a folder.
            license (str, optional): Of the weights, an SPDX identifier or a text, for the card. Defaults to None: the
                card says that it is not stated.
            overwrite (bool): Whether what is there may be replaced. Defaults to False.

        Raises:
            InputError: If there is no such format, it cannot hold this network, or needs a package that is not
                installed; a weight is not finite; the file exists, or the disk is full.
        """
        export(self.exported(license), file, format, card=card, overwrite=overwrite)


def bn_reset(mode: str | None, options: dict[str, Any]) -> BNReset:
    """The BN reset of ``bn_images``, ``batch_size``, ``seed`` and, unless ``mode`` is given, ``bn_reset`` in options.

    Raises:
        InputError: If one of them is out of range.
    """
    return BNReset(mode or options.get('bn_reset', 'cluster'),
                   **{new: options[old] for old, new in BN_OPTIONS.items() if options.get(old) is not None})


def task_of(ranking: Ranking | None, task: Task | str | Path | None, *, purpose: str = 'BN statistics from the task',
            unlabeled: bool = False) -> Task:
    """The task whose images give BN statistics, or are shown: the one that is given, or that of the ranking.

    ``purpose`` is what the images are for, for messages. With ``unlabeled`` any folder of images will do.

    Raises:
        InputError: If there is none, or a file names one that would be run.
    """
    if isinstance(task, Task):
        return task
    source = dict(ranking.settings.get('task') or {}) if ranking is not None else {}
    if task is not None:
        source = dict(source, source=str(task))
    elif ranking is not None and ranking.images is not None:
        return ranking.images
    if not source:
        raise InputError(f'{purpose} need its images: pass --task TASK')
    if task is None and not Path(str(source.get('source'))).is_dir():
        # What a file names is not run, and the config of a task is Python.
        raise InputError(f'the ranking names {source.get("source")}, which is no folder: pass --task TASK')
    known = ('source', 'splits', 'seed', 'data_root')
    return task_at({key: source[key] for key in known if key in source}, unlabeled)


def image_files(images: Images) -> Sequence[ImageSource]:
    """The images of a folder, of a task, or those that are given.

    Raises:
        InputError: If there are none.
    """
    if isinstance(images, Task):
        return images.paths
    if not isinstance(images, (str, Path)):
        if not len(images):
            raise InputError('there are no images in the list: give image files or arrays, or a folder')
        return images
    folder = Path(images).expanduser()
    names = find_images(str(folder)) if folder.is_dir() else []
    if not names:
        raise InputError(f'there are no images in {folder}: give a folder of images, or a list of files')
    return [folder / name for name in names]
