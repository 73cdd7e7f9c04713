"""Reading an SDR backbone back from the checkpoint that training wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..errors import InputError
from ..registry import MODELS
from .backbone import SDRBackbone
from .checkpoints import FilePath, check_fit, load_exactly, read_checkpoint, state_of, stored_config

PREFIX = 'backbone.'
OF_TRAINING = ('type', '_scope_', 'init_cfg', 'frozen_stages')
"""Entries of a backbone's config that are no part of its architecture."""


def load_sdr(file: FilePath) -> tuple[SDRBackbone, dict[str, Any]]:
    """Reads the backbone of an SDR checkpoint.

    Nothing that the file names is built but a registered :class:`SDRBackbone`, from plain values.

    Args:
        file (str | Path): A checkpoint that MMEngine wrote while an SDR algorithm trained, which holds its config, or
            the name of one that ships, such as ``'pool-r18'``.

    Returns:
        tuple: The backbone, in evaluation mode on the CPU, and the config of its training.

    Raises:
        InputError: If it is something else, or its weights do not fit its config.
    """
    return load_sdr_and_meta(file)[:2]


def load_sdr_and_meta(file: FilePath) -> tuple[SDRBackbone, dict[str, Any], dict[str, Any]]:
    """:func:`load_sdr`, and the ``meta`` of the checkpoint."""
    checkpoint = read_checkpoint(file)
    state = state_of(checkpoint, file)
    config = stored_config(checkpoint)
    model = config.get('model')
    arguments = model.get('backbone') if isinstance(model, dict) else None
    name = str(arguments.get('type')).split('.')[-1] if isinstance(arguments, dict) else ''
    kind = MODELS.module_dict.get(name)
    if not isinstance(arguments, dict) or kind is None or not issubclass(kind, SDRBackbone):
        raise InputError(f'{file} is no checkpoint of an SDRNet (it stores no config whose backbone is one): give one '
                         f'that tools/train.py wrote with an SDR config')
    arguments = {key: value for key, value in arguments.items() if key not in OF_TRAINING}
    for part in _types(arguments):
        # With a dot in it MMEngine would import what it names, whatever that is.
        if not isinstance(part, str) or not part.isidentifier():
            raise InputError(f'{file}: the stored config of the backbone names a part of the type {str(part)[:60]!r}, '
                             f'and on the word of a checkpoint only registered ones are built, by their plain name')
    weights = {key[len(PREFIX):]: value for key, value in state.items() if key.startswith(PREFIX)}
    try:
        # First without memory: the config alone must not decide how much of it is taken.
        with torch.device('meta'):
            sketch = kind(**arguments)
    except Exception as error:  # Arbitrary values may raise anything.
        reason = next(iter(str(error).splitlines()), '') or type(error).__name__
        raise InputError(f'{file}: the stored config of the backbone does not fit {name} ({reason})') from error
    check_fit(sketch, weights, file)
    backbone = kind(**arguments)
    load_exactly(backbone, weights, file)
    meta = checkpoint.get('meta')
    return backbone.eval(), config, meta if isinstance(meta, dict) else {}


def _types(value: Any) -> Iterator[Any]:
    """Each ``type`` in nested dictionaries and lists."""
    if isinstance(value, Mapping):
        if 'type' in value:
            yield value['type']
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for part in value:
        yield from _types(part)
