"""A folder in the format of the Hugging Face Hub, which timm loads from disk."""

from __future__ import annotations

import errno
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import check_output, not_writable, out_of_space, place_folder
from ..models.checkpoints import import_extra, load_exactly, read_state_dict
from .exported import Exported
from .model_card import model_card
from .timm_resnet import build_timm, timm_arguments, timm_shape, timm_state
from .weight_files import save_safetensors

CONFIG, WEIGHTS, CARD = 'config.json', 'model.safetensors', 'README.md'


def check_folder_output(out: Path, overwrite: bool) -> None:
    """Refuses a place where the folder may not be put. One that holds more than an export is never replaced.

    Raises:
        InputError: If it is there and may not be replaced, or cannot be written to.
    """
    check_output(out, overwrite, holds=CONFIG)
    others = sorted({file.name for file in out.iterdir()} - {CONFIG, WEIGHTS, CARD}) if out.is_dir() else []
    if others:
        raise InputError(f'{out} holds more than an export ({others[0]}), so it is not replaced: give another name')


def write_huggingface(exported: Exported, out: Path, overwrite: bool) -> None:
    """``config.json`` in timm's schema, ``model.safetensors`` and the model card as ``README.md``."""
    timm = import_extra('timm', 'the format huggingface')
    check_folder_output(out, overwrite)
    state, config = timm_state(exported, 'huggingface'), timm_config(exported)
    card = model_card(exported, 'huggingface', out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{out.name[:32]}-', dir=out.parent) as place:
            folder = Path(place) / 'new'
            folder.mkdir(mode=0o700)
            (folder / CONFIG).write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
            (folder / CARD).write_text(card, encoding='utf-8')
            save_safetensors(exported, state, folder / WEIGHTS, 'huggingface')
            network = build_timm(timm_shape(exported, 'huggingface'), 'the format huggingface')
            load_exactly(network, read_state_dict(folder / WEIGHTS), out)
            loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
            if any(not torch.equal(value, state[key]) for key, value in loaded.state_dict().items()):
                raise RuntimeError(f'{out} did not come back as it was written')
            exported.check_same(loaded, out)
            place_folder(folder, out)
    except OSError as error:
        raise (out_of_space(out) if error.errno == errno.ENOSPC else not_writable(out, error)) from error


def timm_config(exported: Exported) -> dict[str, Any]:
    """``config.json`` of timm: the architecture, and how images are prepared.

    Raises:
        InputError: If timm has no such ResNet, or the normalization is of another number of channels.
    """
    shape, settings = timm_shape(exported, 'huggingface'), exported.settings
    channels = shape.in_channels
    mean, std = ([round(value / 255, 12) for value in values] for values in settings.normalization)
    if len(mean) not in (1, channels):
        raise InputError(f'the normalization has {len(mean)} values, and the network takes images of {channels} '
                         f'channel(s), which no config of timm says: take the format timm')
    size = settings.size
    fixed = dict(
        tag=f'sdr_{exported.meta["subnet"]}' if 'subnet' in exported.meta else 'sdr', custom_load=False,
        input_size=[channels, size, size], fixed_input_size=False, interpolation='bicubic',
        crop_pct=crop_pct(settings.resize, size), crop_mode='center', mean=mean * (channels // len(mean)),
        std=std * (channels // len(std)), num_classes=0, pool_size=[math.ceil(size / 32)] * 2,
        # By its name timm would turn a first convolution for RGB into one for other images, which this is already.
        first_conv='conv1' if channels == 3 else None, classifier='fc')
    if exported.license is not None:
        fixed['license'] = exported.license
    return dict(architecture=f'resnet{shape.depth}', num_classes=0, num_features=exported.num_features,
                global_pool='avg', model_args=timm_arguments(shape), pretrained_cfg=fixed)


def crop_pct(resize: int, size: int) -> float:
    """The part of the resized image that is cropped, from which timm's ``floor(size / crop_pct)`` gives ``resize``."""
    part = size / resize
    return part if math.floor(size / part) == resize else math.nextafter(part, 0)
