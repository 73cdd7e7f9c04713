"""Keeps one folder for one detection routing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from ..errors import InputError
from ..files import atomic_write

RECORD = 'run.json'
SECTIONS = ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler')
FREE = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')
"""Entries of a config that change no number."""


def weights_fingerprint(network: nn.Module) -> str:
    """Stands for all weights and statistics of ``network``."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(f'{key} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f'sha256:{digest.hexdigest()}'


def race_identity(cfg: Config, **options: Any) -> dict[str, Any]:
    """What the scores depend on, beside the number of iterations, flattened to one level."""
    content = {name: _plain(cfg.get(name)) for name in SECTIONS}
    content['max_iters'] = cfg.train_cfg.max_iters
    return json.loads(json.dumps(_flatten(dict(content, **options))))


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Makes ``folder`` the place of this routing, or of its continuation.

    Raises:
        InputError: If it holds another one. Nothing is written then.
    """
    record = folder / RECORD
    if record.exists():
        try:
            theirs = json.loads(record.read_text(encoding='utf-8'))
        except ValueError as error:
            raise InputError(f'{record} cannot be read: pass another --work-dir, or remove this one') from error
        changed = [name for name in sorted({*identity, *theirs}) if identity.get(name) != theirs.get(name)]
        if changed:
            raise InputError(f'{folder} holds another routing, with another {changed[0]}: pass another --work-dir, or '
                             f'the options of that one')
        return
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(identity, indent=1) + '\n', encoding='utf-8')


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if key not in FREE}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _flatten(value: Any, name: str = '') -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: part for child in sorted(value)
            for key, part in _flatten(value[child], f'{name}.{child}' if name else child).items()}
