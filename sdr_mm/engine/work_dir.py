"""Keeps the results of one run from being mixed with those of another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..files import atomic_write

RECORD = 'run.json'


def identity(cfg: Config) -> dict[str, Any]:
    """What makes a run this run: its model, its images and their clusters, flattened to one level.

    With sub-nets also what its order of networks and images depends on.
    """
    dataset = cfg.train_dataloader.dataset
    run = dict(model=cfg.model.to_dict(), dataset=dataset.to_dict())
    if 'clusters' in dataset:
        run.update(max_epochs=cfg.train_cfg.max_epochs, batch_size=cfg.train_dataloader.batch_size,
                   ranks=int(os.environ.get('WORLD_SIZE', os.environ.get('SLURM_NTASKS', 1))))
    return _flatten(run)


def _flatten(value: Any, name: str = '') -> dict[str, Any]:
    if isinstance(value, dict):
        # Transforms may change between two parts of a run; what is learned, and from what, may not.
        items = [(key, part) for key, part in sorted(value.items()) if key not in ('pipeline', '_scope_')]
        return {k: v for key, part in items for k, v in _flatten(part, f'{name}.{key}' if name else key).items()}
    return {name: list(value) if isinstance(value, tuple) else value}


def claim_work_dir(cfg: Config, resume: bool) -> None:
    """Makes ``cfg.work_dir`` the place of this run, or of this run's continuation.

    Args:
        cfg (Config): Config of the run.
        resume (bool): Whether it continues a run that the folder holds.

    Raises:
        InputError: If the folder holds checkpoints and ``resume`` is false, or those of a run with
            another model or other data. Nothing is written then.
    """
    folder = Path(cfg.work_dir)
    record = folder / RECORD
    mine = json.loads(json.dumps(identity(cfg)))
    if any(folder.glob('*.pth')):
        if not resume:
            raise InputError(f'{folder} holds the checkpoints of another run: pass --resume to continue that one, '
                             'or another --work-dir')
        theirs = _read(record) if record.exists() else mine
        changed = [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
        if changed:
            name = changed[0]
            raise InputError(f'{folder} holds another run, with {name} = {theirs.get(name)} where this one has '
                             f'{mine.get(name)}: pass another --work-dir, or the config of that run')
    with atomic_write(record, overwrite=True) as temporary:
        temporary.write_text(json.dumps(mine, indent=1) + '\n')


def _read(record: str | Path) -> dict[str, Any]:
    try:
        return json.loads(Path(record).read_text())
    except ValueError as error:
        raise InputError(f'{record} cannot be read ({error}): remove it to resume without the check that the config '
                         'is that of the run') from error
