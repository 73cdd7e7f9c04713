"""What a folder holds, so that the results of one run are not mixed with those of another."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..files import atomic_write

RECORD = 'run.json'
LONG = 60
"""Characters of a value beyond which a message does not quote it."""


def claim(folder: str | Path, identity: Mapping[str, Any], what: str = 'run') -> None:
    """Writes down what ``folder``, which is made if it is not there, is for, or checks that it is for the same.

    ``identity`` is what its results depend on, plain values under one name each; ``what`` names it in messages.

    Raises:
        InputError: If the folder is for something else, naming the first difference. Nothing is written then.
    """
    record = Path(folder) / RECORD
    mine = json.loads(json.dumps(identity))
    if record.exists():
        try:
            theirs = json.loads(record.read_text(encoding='utf-8'))
            if not isinstance(theirs, dict):
                raise ValueError('it is no record')
        except ValueError as error:
            raise InputError(f'{record} cannot be read ({error}): remove it to continue without the check that the '
                             f'folder holds the same {what}') from error
        for name in sorted({*mine, *theirs}):
            if mine.get(name) != theirs.get(name):
                values = f'{theirs.get(name)} where this one has {mine.get(name)}'
                raise InputError(f'{folder} holds another {what}, with ' +
                                 (f'{name} = {values}' if len(values) <= 2 * LONG else f'another {name}') +
                                 f': pass another --work-dir, or the config and options of that {what}')
    with atomic_write(record, overwrite=True) as temporary:
        temporary.write_text(json.dumps(mine, indent=1) + '\n', encoding='utf-8')


def claim_work_dir(cfg: Config, resume: bool) -> None:
    """Claims ``cfg.work_dir`` for a training, which may ``resume`` one there. Without checkpoints the folder is free.

    Raises:
        InputError: If the folder holds checkpoints and ``resume`` is false, or those of a run with another model or
            other data. Nothing is written then.
    """
    folder = Path(cfg.work_dir)
    if not any(folder.glob('*.pth')):
        (folder / RECORD).unlink(missing_ok=True)
    elif not resume:
        raise InputError(f'{folder} holds the checkpoints of another run: pass --resume to continue that one, '
                         'or another --work-dir')
    claim(folder, training_identity(cfg))


def training_identity(cfg: Config) -> dict[str, Any]:
    """What makes a training this training: its model, its images and their clusters.

    With sub-nets also what its order of networks and images depends on. Transforms may change between two parts of a
    run; what is learned, and from what, may not.
    """
    dataset = cfg.train_dataloader.dataset
    run = dict(model=cfg.model.to_dict(), dataset=dataset.to_dict())
    if 'clusters' in dataset:
        run.update(max_epochs=cfg.train_cfg.max_epochs, batch_size=cfg.train_dataloader.batch_size,
                   ranks=int(os.environ.get('WORLD_SIZE', os.environ.get('SLURM_NTASKS', 1))))
    return flatten(run, leave_out=('pipeline', '_scope_'))


def flatten(value: Any, name: str = '', leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Nested dictionaries as one, ``{'model.backbone.depth': 50, …}``, without the keys to ``leave_out``."""
    if not isinstance(value, Mapping):
        return {name: list(value) if isinstance(value, tuple) else value}
    return {key: part for child in sorted(value) if child not in leave_out
            for key, part in flatten(value[child], f'{name}.{child}' if name else child, leave_out).items()}
