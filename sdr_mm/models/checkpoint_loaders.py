"""Every way in which MMEngine comes by a checkpoint ends in :func:`~sdr_mm.models.checkpoints.read_checkpoint`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch
from mmengine import dist
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..distributed import on_all_ranks
from ..errors import InputError
from ..only_weights import only_weights
from .checkpoints import read_checkpoint
from .safe_globals import allow_checkpoints

Loader = Callable[..., Any]

_TABLES: dict[str, Callable[[], dict[str, str]]] = {
    'torchvision': mmengine_checkpoint.get_torchvision_models,
    'modelzoo': mmengine_checkpoint.get_torchvision_models,
    'open-mmlab': mmengine_checkpoint.get_external_models,
    'openmmlab': mmengine_checkpoint.get_external_models,
    'mmcls': mmengine_checkpoint.get_mmcls_models,
}


def cached_file(url: str) -> Path:
    """Where torch.hub, and so torchvision and MMEngine, keep what they download from ``url``."""
    return Path(torch.hub.get_dir()) / 'checkpoints' / PurePosixPath(urlsplit(url).path).name


def locate(name: str) -> Path:
    """The file of a name that MMEngine resolves, downloaded if it is not there.

    Args:
        name (str): A file, a URL, or ``SCHEME://NAME`` with one of ``torchvision``, ``open-mmlab`` and ``mmcls``.

    Raises:
        InputError: If there is no such name, or it cannot be downloaded.
    """
    scheme, found, rest = name.partition('://')
    if not found:
        return Path(name).expanduser()
    url = name
    if scheme in _TABLES:
        rest = mmengine_checkpoint.get_deprecated_model_names().get(rest, rest)
        known = _TABLES[scheme]()
        if rest not in known:
            raise InputError(f'{name} cannot be fetched, {scheme}:// has no such name: give another one, or a file')
        url = known[rest]
        if '://' not in url:
            return Path(mmengine_checkpoint._get_mmengine_home()) / url
    elif scheme not in ('http', 'https'):
        raise InputError(f'{name} cannot be fetched, {scheme}:// is unknown: give a file, or a URL of http or https')
    file = cached_file(url)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=dist.is_main_process())
        except Exception as error:  # A download may raise anything.
            raise InputError(f'{name} cannot be fetched ({type(error).__name__}): give a file') from error
    return file


def load_for_mmengine(name: str, map_location: Any = None) -> dict[str, Any]:
    """What MMEngine gets in place of its own loading: all of the checkpoint but for what it would execute.

    All ranks must call; the first one downloads. ``Runner.resume`` runs ``meta['config']``, which checkpoints of MMCV
    had, as Python.

    Raises:
        InputError: If there is no such checkpoint, or it cannot be read without running code.
    """
    if '://' in name:
        on_all_ranks(lambda: locate(name) if dist.is_main_process() else None)
    checkpoint = read_checkpoint(locate(name), map_location)
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint) if name.startswith('mmcls://') else checkpoint


def guard_mmengine() -> None:
    """Registers :func:`load_for_mmengine` with MMEngine for files, URLs and the names of model zoos.

    Buckets and the like keep their own loaders, inside of :func:`~sdr_mm.only_weights.only_weights`.
    """
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        mine = prefix in ('', 'http://', 'https://') or prefix.partition('://')[0] in _TABLES
        guarded = _named(load_for_mmengine, loader) if mine else _guarded(loader)
        CheckpointLoader.register_scheme(prefix, guarded, force=True)


def _named(mine: Loader, theirs: Loader) -> Loader:
    """``mine`` under the name of ``theirs``, which MMEngine logs."""

    @functools.wraps(theirs)
    def load(name: str, map_location: Any = None) -> Any:
        return mine(name, map_location)

    return load


def _guarded(loader: Loader) -> Loader:

    @functools.wraps(loader)
    def load(name: str, map_location: Any = None) -> Any:
        allow_checkpoints()
        try:
            with only_weights():
                checkpoint = loader(name, map_location)
        except Exception as error:  # Each kind of storage has its own errors.
            raise InputError(f'{name} cannot be read as a checkpoint ({type(error).__name__}): give a file') from error
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        return checkpoint

    return load
