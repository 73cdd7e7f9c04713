"""What a folder holds, so that the results of one run are not mixed with those of another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..datasets.cluster_dataset import ClusterDataset
from ..errors import InputError
from ..files import atomic_write
from ..images import fingerprint, image_names
from ..records import read_json
from ..space import SUPERNET
from .progressive_training_hook import ProgressiveTrainingHook
from .resuming import checkpoint_files, checkpoint_folder

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
        advice = f'remove it to continue without the check that the folder holds the same {what}'
        theirs = read_json(record, advice)
        if not isinstance(theirs, dict):
            raise InputError(f'{record} cannot be read (it is no record): {advice}')
        check_same_run(theirs, mine, folder, what, 'pass another --work-dir, or')
    with atomic_write(record, overwrite=True) as temporary:
        temporary.write_text(json.dumps(mine, indent=1) + '\n', encoding='utf-8')


def check_same_run(theirs: Mapping[str, Any], mine: Mapping[str, Any], where: str | Path, what: str = 'run',
                   advice: str = 'pass') -> None:
    """Raises an InputError that names the first difference between what ``where`` holds and what is wanted."""
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name):
            values = f'{theirs.get(name)} where this one has {mine.get(name)}'
            raise InputError(f'{where} holds another {what}, with ' +
                             (f'{name} = {values}' if len(values) <= 2 * LONG else f'another {name}') +
                             f': {advice} the config and options of that {what}')


def check_work_dir(cfg: Config) -> None:
    """Checks that ``cfg.work_dir`` is free for a training, or holds one to ``resume``, before anything is built.

    A training that was stopped before its first checkpoint has left its record, and resumes from its start.

    Raises:
        InputError: If it holds checkpoints without ``resume``, nothing to resume with it, or the record of an earlier
            version, by which a run cannot be known.
    """
    folder, record = Path(cfg.work_dir), Path(cfg.work_dir) / RECORD
    files = checkpoint_files(checkpoint_folder(cfg))
    if not cfg.get('resume'):
        if files:
            raise InputError(f'{folder} holds the checkpoints of another run: pass --resume to continue that one, '
                             'or another --work-dir')
    elif not cfg.get('load_from') and not files and not record.exists():
        raise InputError(f'{folder} holds nothing to resume, neither checkpoints nor a {RECORD}: check --work-dir, or '
                         'leave --resume out to begin a training')
    elif record.exists() and '"dataset.type"' in record.read_text(encoding='utf-8', errors='replace'):
        raise InputError(f'{record} was written by an earlier version, which knew a run by the names of its files: '
                         'remove it to continue without the check that the folder holds the same run')


def claim_work_dir(cfg: Config, identity: Mapping[str, Any]) -> None:
    """Claims ``cfg.work_dir`` for a training, which may ``resume`` one there. Without checkpoints the folder is free.

    Raises:
        InputError: If it holds checkpoints of another run. Nothing is written then.
    """
    resumes_here = cfg.get('resume') and not cfg.get('load_from')
    if not resumes_here and not checkpoint_files(checkpoint_folder(cfg)):
        (Path(cfg.work_dir) / RECORD).unlink(missing_ok=True)
    claim(cfg.work_dir, identity)


def training_identity(runner: Runner) -> dict[str, Any]:
    """What makes a training this training, by content: its model, its images, their clusters and their order.

    Files are known by what is in them, not by how their paths are spelled or where they lie. Transforms, learning
    rates and, where the order of the networks does not depend on it, the length may change between two parts of a run;
    what is learned, and from what, may not.
    Computing activations again (``with_cp``) changes nothing but time and memory.
    """
    dataset = runner.train_dataloader.dataset
    run = flatten(dict(model=runner.cfg.model.to_dict()), leave_out=('_scope_', 'with_cp'))
    run = {name: _content(value) for name, value in run.items()}
    if isinstance(dataset, ClusterDataset):
        sampler = runner.train_dataloader.batch_sampler
        run.update(images=_images(dataset.dataset), clusters=_clusters(dataset), batch_size=sampler.batch_size,
                   ranks=runner.world_size)
        for hook in runner.hooks:
            if isinstance(hook, ProgressiveTrainingHook):
                schedule = hook.make_schedule(runner)
                run.update(phase_iters=schedule.starts, supernet_prob=schedule.supernet_prob, joint=schedule.joint)
    else:
        run.update(images=_images(dataset))
    return dict(json.loads(json.dumps(run)))


def _content(value: Any) -> Any:
    """The hash of a file in the place of its path, and any other value as it is."""
    if not isinstance(value, str) or not os.path.isfile(value):
        return value
    return f'sha256:{hashlib.sha256(Path(value).read_bytes()).hexdigest()}'


def _images(dataset: Any) -> str:
    """The fingerprint of the list of images; of a data set without files, its class and length."""
    try:
        return fingerprint(image_names(dataset))
    except (InputError, AttributeError):
        return f'{len(dataset)} of {type(dataset).__name__}'


def _clusters(dataset: ClusterDataset) -> str:
    """A hash of which images belong to which sub-net; of all images once, if each sub-net trains on them."""
    digest = hashlib.sha256(repr(dataset.space).encode())
    for network in [SUPERNET] if dataset.share_images else range(len(dataset.space)):
        digest.update(str(dataset.size(network)).encode())
        for images in dataset.chunks(network):
            digest.update(images.tobytes())
    return digest.hexdigest()


def flatten(value: Any, name: str = '', leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Nested dictionaries as one, ``{'model.backbone.depth': 50, …}``, without the keys to ``leave_out``."""
    if not isinstance(value, Mapping):
        return {name: list(value) if isinstance(value, tuple) else value}
    return {key: part for child in sorted(value) if child not in leave_out
            for key, part in flatten(value[child], f'{name}.{child}' if name else child, leave_out).items()}
