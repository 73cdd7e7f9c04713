"""Configs, and the changes that the command line makes to them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from ..datasets.build import image_dataset
from ..errors import InputError, naming
from ..mmselfsup import find_config, read_config, translate
from ..models.eval_settings import EvalSettings
from ..models.shipped import find_checkpoint

AMP_WRAPPERS = {'OptimWrapper': 'AmpOptimWrapper', 'SubnetOptimWrapper': 'AmpSubnetOptimWrapper'}

SETTINGS = {*inspect.signature(Runner.__init__).parameters, 'channels_last', 'compile', 'evaluation',
            'find_unused_parameters', 'model_wrapper_cfg', 'runner_type'}
"""Entries of a config that something reads; the others are variables, whose value has gone into these already."""


ENTRIES = dict(evaluation=('resize', 'size', 'k'), auto_scale_lr=('base_batch_size', 'enable'),
               env_cfg=('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'))
"""Entries of sections whose other entries nobody would miss; the other sections become arguments of something."""


def load_config(file: str, options: dict[str, Any] | None = None) -> Config:
    """Reads a training config and applies ``--cfg-options``.

    It may be one of MMSelfSup's, with options in the words of that config, or the name of one
    (:mod:`sdr_mm.mmselfsup`). With ``num_workers=0`` a loader has no processes to keep, whatever its other entries
    say.

    Raises:
        InputError: If there is no such file, it cannot be read, it trains nothing, it needs a package that is not
            there, or an option would change nothing or puts something into an entry that it cannot be.
    """
    if not Path(find_config(file)).is_file():
        raise InputError(f'there is no config {file}: give one of configs/')
    try:
        cfg = read_config(file)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        if error.name == 'pkg_resources':
            raise InputError("MMEngine needs pkg_resources, which setuptools has up to version 81: pip install "
                             "'setuptools<82'") from error
        raise InputError(f'{file} builds on a package that this environment lacks ({error}): for detection set up the '
                         "full environment, 'make .venv-full/.installed', and use its python") from error
    except Exception as error:  # it runs the file, which may raise anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'config {file} cannot be read ({reason}): correct the file') from error
    for option, value in (options or {}).items():
        name = option.split('.')[0]
        if name in cfg and name not in SETTINGS:
            advice = ': give --epochs N' if name == 'epochs' else similar(cfg.to_dict(), option)
            raise InputError(f'--cfg-options {option} would change nothing, because {name} is a variable that the '
                             f'config has used already{advice}')
        check_option(cfg, option, value)
        cfg.merge_from_dict({option: value})
    with naming(file):
        cfg = translate(cfg)
    if 'train_dataloader' not in cfg and isinstance(cfg.get('data'), Mapping) and 'train' in cfg.data:
        raise InputError(f'{file} is a config of the time before MMEngine, as of MMSelfSup 0.x: take that of '
                         'MMSelfSup 1.x, or of MMPretrain')
    if not all(isinstance(cfg.get(name), Mapping) for name in ('model', 'train_dataloader', 'train_cfg')):
        raise InputError(f'{file} is no training config: it needs a model, a train_dataloader and a train_cfg')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        for key in ('batch_size', 'num_workers'):
            if key in loader and type(loader[key]) is not int:
                raise InputError(f'{name}.{key} is a whole number, got {loader[key]!r}')
        if loader.get('num_workers') == 0:
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
    if not isinstance(cfg.get('load_from'), (str, type(None))):
        raise InputError(f'load_from is the path of a checkpoint, got {cfg.load_from!r}')
    if 'evaluation' in cfg:
        EvalSettings.of(cfg.to_dict())
    return cfg


def check_option(cfg: Config, option: str, value: Any) -> None:
    """Refuses an option of the command line that names no entry, or gives it a value of another kind.

    An entry may be new, if its section becomes the arguments of a class, which then says whether it knows it.

    Raises:
        InputError: Naming the entries that are there.
    """
    content = cfg.to_dict()
    node: Any = content
    way: list[str] = []
    for part in option.split('.'):
        where, way = '.'.join(way), [*way, part]
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(f'--cfg-options {option}: {where} has the entries 0 to {len(node) - 1}, and no {part}')
            node = node[int(part)]
        elif isinstance(node, Mapping):
            known = {*node, *(SETTINGS if not where else ENTRIES.get(where, ()))}
            if part not in node and part not in known and (not where or where in ENTRIES):
                raise InputError(f'--cfg-options {option}: nothing reads {".".join(way)}'
                                 f'{similar(content, option, known)}')
            if part not in node:
                return
            node = node[part]
        else:
            raise InputError(f'--cfg-options {option}: {where} is {node!r} and has no entries')
    number = isinstance(node, (int, float)) and not isinstance(node, bool)
    fits = (value is None or isinstance(value, Mapping) if isinstance(node, Mapping) else
            isinstance(value, (int, float)) and not isinstance(value, bool) if number and value is not None else
            isinstance(value, bool) if isinstance(node, bool) else True)
    if not fits:
        what = f'a section with {", ".join(node)}: set one of its entries' if isinstance(node, Mapping) else repr(node)
        raise InputError(f'--cfg-options {option} cannot be {value!r}, it is {what}')


def similar(cfg: Mapping[str, Any], option: str, known: Collection[str] = (), unknown: str = '') -> str:
    """Advice with the entries of a config, but those called ``unknown``, that are called nearly as ``option``."""
    last = option.split('.')[-1]
    entries = [entry for entry in _entries(cfg) if entry.split('.')[-1] != unknown]
    found = [entry for entry in entries if f'.{entry}'.endswith(f'.{option}')]
    found += get_close_matches(option, [*entries, *known], 3, 0.7)
    found += [entry for entry in entries if entry.split('.')[-1] in get_close_matches(
        last, {entry.split('.')[-1] for entry in entries}, 2, 0.8)]
    return f': did you mean {" or ".join(list(dict.fromkeys(found))[:3])}?' if found else ': correct its name'


def _entries(node: Any, name: str = '') -> Iterator[str]:
    """Names of all entries of a config that something reads."""
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in pairs:
        if name or key in SETTINGS:
            yield f'{name}{key}'
            yield from _entries(value, f'{name}{key}.')


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """What goes wrong inside, while something is built from a config, is a fault of the config, told in one line.

    Raises:
        InputError: In place of what MMEngine's registries and the classes of the config raise.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ImportError, AssertionError, RuntimeError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        reason = ' '.join(text.split()) or 'no reason given'
        unknown = re.search(r"unexpected keyword argument '(\w+)'", reason)
        advice = (similar(cfg.to_dict(), unknown[1], unknown=unknown[1]) if unknown else
                  ': correct the config or --cfg-options')
        raise InputError(f'{cfg.filename} cannot be built, {type(error).__name__}: {reason[:300]}{advice}') from error


def amp_wrapper(kind: str) -> str:
    """The mixed-precision counterpart of a type of optimizer wrapper; an InputError if there is none."""
    scope, _, name = kind.rpartition('.')
    if name in AMP_WRAPPERS.values():
        return kind
    if name not in AMP_WRAPPERS:
        raise InputError(f"--amp does not know optim_wrapper.type '{kind}': use one of {', '.join(AMP_WRAPPERS)}")
    return f'{scope}.{AMP_WRAPPERS[name]}' if scope else AMP_WRAPPERS[name]


def use_amp(cfg: Config) -> None:
    """Trains in mixed precision, of the config's ``optim_wrapper.dtype`` or float16.

    Loss is scaled for float16. The gradients of bfloat16 have the range of float32's and need no scaling.

    Raises:
        InputError: If there is no wrapper or no GPU for it.
    """
    cfg.optim_wrapper.type = amp_wrapper(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    scaled = cfg.optim_wrapper.get('dtype') != 'bfloat16'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic' if scaled else dict(enabled=False))
    if not torch.cuda.is_available():
        raise InputError('--amp needs a GPU, and torch finds none: leave it out')


def use_compile(cfg: Config) -> None:
    """Compiles the backbone, with the options for ``torch.compile`` that the config may have."""
    cfg.compile = cfg.get('compile') or True


def use_profile(cfg: Config, start: int | None = None) -> None:
    """Profiles some iterations after the first ``start`` ones, see :class:`ProfileHook`; None is its default."""
    hook = dict(type='sdr_mm.ProfileHook') | ({} if start is None else dict(start=start))
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def use_epochs(cfg: Config, epochs: int) -> None:
    """Trains for this number of epochs; learning rates that would have ended with the training still do.

    Raises:
        InputError: If the config counts iterations, or a warm-up leaves no epoch.
    """
    if 'max_epochs' not in cfg.train_cfg:
        raise InputError(f'--epochs {epochs} has no use: this config trains by iterations; set train_cfg.max_iters')
    planned = cfg.train_cfg.max_epochs
    for scheduler in _schedulers(cfg):
        begin = scheduler.get('begin', 0)
        if epochs <= begin:
            raise InputError(f'--epochs {epochs} is too few: {scheduler.type} begins after {begin} epochs')
        if scheduler.get('end') == planned:
            scheduler.end = epochs
        if begin + scheduler.get('T_max', 0) == planned:
            scheduler.T_max = epochs - begin
    cfg.train_cfg.max_epochs = epochs


def check_epochs(cfg: Config) -> str | None:
    """Says in one line what is wrong if a learning rate is not made for the number of epochs."""
    epochs = cfg.train_cfg.get('max_epochs')
    for scheduler in _schedulers(cfg) if epochs else ():
        end = scheduler.get('begin', 0) + scheduler.T_max if 'T_max' in scheduler else scheduler.get('end', 0)
        if end > epochs or 'T_max' in scheduler and end < epochs:
            return (f'the training ends after {epochs} epochs and the {scheduler.type} after {end}: let --epochs '
                    f'{epochs} set both, or set param_scheduler too')
    return None


def _schedulers(cfg: Config) -> list[ConfigDict]:
    """Those that count epochs."""
    schedulers = cfg.get('param_scheduler') or []
    return [scheduler for scheduler in (schedulers if isinstance(schedulers, list) else [schedulers])
            if scheduler.get('by_epoch', True)]


def is_detector(cfg: Config) -> bool:
    """Whether the config trains a detector of MMDetection."""
    return bool(cfg.get('default_scope') == 'mmdet')


def voc_folders(cfg: Config) -> list[ConfigDict]:
    """Configs of the data sets of VOC format, of training, validation and test."""
    found: list[ConfigDict] = []
    rest = [cfg[name].dataset for name in ('train_dataloader', 'val_dataloader', 'test_dataloader') if cfg.get(name)]
    while rest:
        dataset = rest.pop()
        rest += [*dataset.get('datasets', []), *([dataset.dataset] if 'dataset' in dataset else [])]
        if dataset.type.split('.')[-1] == 'VOCFolder':
            found.append(dataset)
    return found


def use_folder(cfg: Config, folder: str, ann_file: str = '') -> None:
    """Trains on the images of ``folder``, flat or nested, with the transforms of the config.

    For a detector ``folder`` is the ``data_root`` of its data sets of VOC format; an InputError if it has others.
    """
    if is_detector(cfg):
        folders = voc_folders(cfg)
        if not folders:
            raise InputError(f'--data {folder} has no use: this detector is not trained on a folder of VOC format; set '
                             'data_root in the config')
        for part in folders:
            part.data_root = folder
        return
    dataset = image_dataset(cfg.train_dataloader.dataset)
    pipeline = dataset.get('pipeline', [])
    dataset.clear()
    dataset.update(type='sdr_mm.ImageFolder', _scope_='sdr_mm', data_root=folder, ann_file=ann_file, pipeline=pipeline)


def use_clusters(cfg: Config, clusters: str) -> None:
    """Trains with this ``clusters.npz``; an InputError if the config has no clusters."""
    dataset = cfg.train_dataloader.dataset
    if 'clusters' not in dataset:
        raise InputError(f'--clusters {clusters} has no use: the data set of this config has no clusters; take an SDR '
                         'config, or one for cluster batches')
    dataset.clusters = clusters


def use_launcher(cfg: Config, launcher: str) -> None:
    """Joins the processes of a launcher; those of torchrun unasked, or they would write into each other's files."""
    several = int(os.environ.get('WORLD_SIZE', '1')) > 1
    cfg.launcher = 'pytorch' if launcher == 'none' and several else launcher


def use_init_from(cfg: Config, checkpoint: str) -> None:
    """Starts from a trained network, see :func:`~sdr_mm.models.warm_start.warm_start`; an InputError for a detector."""
    if is_detector(cfg):
        raise InputError(f'--init-from {checkpoint} is for pre-training: a detector names its weights in '
                         'model.backbone.init_cfg')
    if '://' not in checkpoint:
        find_checkpoint(checkpoint)
    cfg.model.init_cfg = dict(type='Pretrained', _scope_='sdr_mm', checkpoint=checkpoint)


def use_on_error(cfg: Config, on_error: str | None) -> None:
    """Stops at an image that cannot be decoded, or skips and counts such images."""
    for transform in _transforms(image_dataset(cfg.train_dataloader.dataset).get('pipeline', [])):
        if str(transform.get('type')).split('.')[-1] in ('LoadImage', 'LoadImageFromFile'):
            transform.clear()
            transform.update(type='sdr_mm.LoadImage', on_error=on_error or 'stop')
            return
    raise InputError('the pipeline of the config does not load images: begin it with LoadImage')


def _transforms(pipeline: Any) -> Iterator[ConfigDict]:
    """All transforms of a pipeline, those inside of others, such as ``Cached`` and ``MultiView``, included."""
    for part in pipeline:
        if isinstance(part, Mapping):
            yield part
            yield from _transforms(part.get('transforms') or [])
        elif isinstance(part, (list, tuple)):  # The views of MultiView.
            yield from _transforms(part)
