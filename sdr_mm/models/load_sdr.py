"""Reading an SDR backbone back from the checkpoint that training wrote."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..registry import MODELS
from .backbone import SDRBackbone
from .checkpoints import FilePath, load_exactly, read_checkpoint, state_of, stored_config

PREFIX = 'backbone.'
OF_TRAINING = ('type', '_scope_', 'init_cfg', 'frozen_stages')
"""Entries of a backbone's config that are no part of its architecture."""


def load_sdr(file: FilePath) -> tuple[SDRBackbone, dict[str, Any]]:
    """Reads the backbone of an SDR checkpoint.

    Nothing that the file names is built but a registered :class:`SDRBackbone`, from plain values.

    Args:
        file (str | Path): A checkpoint that MMEngine wrote while an SDR algorithm trained. It holds its config.

    Returns:
        tuple: The backbone, in evaluation mode on the CPU, and the config of its training.

    Raises:
        InputError: If it is something else, or its weights do not fit its config.
    """
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
    try:
        backbone = kind(**{key: value for key, value in arguments.items() if key not in OF_TRAINING})
    except (TypeError, ValueError, KeyError) as error:  # InputError is a ValueError.
        raise InputError(f'{file}: the stored config of the backbone does not fit {name} ({error})') from error
    load_exactly(backbone, {key[len(PREFIX):]: value for key, value in state.items() if key.startswith(PREFIX)}, file)
    return backbone.eval(), config
