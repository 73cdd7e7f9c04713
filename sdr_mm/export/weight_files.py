"""Weights alone, for the libraries that build the network themselves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..files import atomic_write
from ..models.backbone import build_plain
from ..models.checkpoints import RECORD, State, import_extra, load_exactly, read_state_dict
from ..routing.subnet import export_subnet
from .exported import Exported
from .resnet_shape import resnet_shape
from .timm_resnet import build_timm, timm_shape, timm_state
from .torchvision_resnet import torchvision_resnet


def write_mmpretrain(exported: Exported, file: Path, overwrite: bool) -> None:
    """The checkpoint ``{'state_dict': …, 'meta': …}`` of OpenMMLab; :func:`sdr_mm.routing.export_subnet`."""
    mean, std = (list(values) for values in exported.settings.normalization)
    export_subnet(exported.network, file, config=exported.config, overwrite=overwrite,
                  meta=dict(exported.meta, mean=mean, std=std, settings=exported.settings.record()))


def write_torchvision(exported: Exported, file: Path, overwrite: bool) -> None:
    """A bare state dict for :func:`torchvision_resnet`, and for torchvision's own constructors at width 64."""
    shape = resnet_shape(exported, 'torchvision')
    _write_state(exported, exported.state, torchvision_resnet(*shape).eval(), file, overwrite)


def write_timm(exported: Exported, file: Path, overwrite: bool) -> None:
    """A bare state dict for timm's ResNet without a classifier."""
    network = build_timm(timm_shape(exported, 'timm'), 'the format timm')
    _write_state(exported, timm_state(exported, 'timm'), network, file, overwrite)


def write_safetensors(exported: Exported, file: Path, overwrite: bool) -> None:
    """A ``.safetensors`` file with what is known of the network in its metadata."""
    with atomic_write(file, overwrite) as temporary:
        save_safetensors(exported, exported.state, temporary, 'safetensors')
        _check_state(temporary, exported.state, build_plain(exported.config), file)


def save_safetensors(exported: Exported, state: State, file: Path, format: str) -> None:
    """Writes weights with the metadata of an export, for ``format``.

    Raises:
        InputError: If the package ``safetensors`` is not installed.
    """
    safetensors = import_extra('safetensors.torch', f'the format {format}')
    file.write_bytes(safetensors.save(state, metadata={'format': 'pt', RECORD: exported.record}))


def _write_state(exported: Exported, state: State, network: nn.Module, file: Path, overwrite: bool) -> None:
    with atomic_write(file, overwrite) as temporary:
        with open(temporary, 'wb') as stream:  # By its name PyTorch refuses a file without a suffix.
            torch.save(state, stream)
        _check_state(temporary, state, network, file)
        exported.check_same(network, file)


def _check_state(temporary: Path, state: State, network: nn.Module, file: Path) -> None:
    """Loads what was written into ``network``, and compares it bit by bit."""
    load_exactly(network, read_state_dict(temporary), file)
    if any(not torch.equal(value, state[key]) for key, value in network.state_dict().items()):
        raise RuntimeError(f'{file} did not come back as it was written')
