"""From a path to a plain checkpoint (section 4.3 of the paper, "Deployment")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import NotFiniteError
from ..files import atomic_write
from ..models.backbone import SDRBackbone, build_plain
from ..models.checkpoints import State, load_exactly, read_checkpoint, state_of
from ..models.sliced import subnet_state_dict
from ..version import __version__


def extract_subnet(backbone: SDRBackbone, path: Sequence[int] | None) -> nn.Module:
    """Cuts the network on ``path`` out of the SDRNet.

    Args:
        backbone (SDRBackbone): It is not changed and shares no memory with the result.
        path (Sequence[int], optional): The sub-net; ``None`` is the super-net.

    Returns:
        nn.Module: A plain network (for an :class:`SDRResNet` a stock MMPretrain ResNet) in evaluation mode on the
        same device. Its running statistics are the super-net's until :func:`reset_bn` has measured its own.

    Raises:
        InputError: If the path is outside the space, or the super-net is no plain network.
    """
    config = backbone.supernet_config() if path is None else backbone.subnet_config()
    network = build_plain(config).to(next(backbone.parameters()).device)
    load_subnet(network, backbone, path)
    return network


def load_subnet(network: nn.Module, backbone: SDRBackbone, path: Sequence[int] | None) -> None:
    """Puts the weights of the network on ``path`` into ``network``, a result of :func:`extract_subnet`.

    Raises:
        InputError: If the path is outside the space.
    """
    backbone.check_path(path)
    load_exactly(network, subnet_state_dict(backbone, path), 'the sub-net')


def weights_of(network: nn.Module) -> State:
    """The weights of a network that may be written, on the CPU.

    Raises:
        NotFiniteError: If one is NaN or infinite.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    for key, value in state.items():
        if not value.isfinite().all():
            raise NotFiniteError(f'{key} is not finite (NaN or infinite), nothing was written: training has diverged, '
                                 f'take an earlier checkpoint')
    return state


def export_subnet(network: nn.Module,
                  file: str | Path,
                  *,
                  config: dict[str, Any],
                  meta: dict[str, Any] | None = None,
                  overwrite: bool = False) -> None:
    """Writes a plain network so that MMPretrain, MMDetection, timm and torchvision load it.

    The keys have no prefix. ``init_cfg=dict(type='Pretrained', checkpoint=file)`` of
    ``mmpretrain.ResNet`` and ``mmdet.ResNet`` leaves no key missing or unexpected. A ResNet of base
    width 64 is torchvision's ``resnet50`` (or 18, …) without its classifier: there
    ``load_state_dict(…, strict=False)`` reports ``fc.weight`` and ``fc.bias`` as missing, and nothing
    else.

    Args:
        network (nn.Module): What :func:`extract_subnet` gave, after its BN statistics were measured.
        file (str | Path): The checkpoint to write: ``{'state_dict': …, 'meta': …}``.
        config (dict): Config of the network, ``backbone.subnet_config()``; stored in ``meta``.
        meta (dict, optional): More to store, of plain Python types. Defaults to None.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If a weight is not finite, or the file exists, or the disk is full.
        RuntimeError: If what was written does not come back bit by bit; nothing is left behind then.
    """
    state = weights_of(network)
    content = dict(state_dict=state, meta=dict(meta or {}, sdr_mm_version=__version__, backbone=config))
    with atomic_write(file, overwrite=overwrite) as temporary:
        with open(temporary, 'wb') as stream:  # By its name PyTorch refuses a file without a suffix.
            torch.save(content, stream)
        written = build_plain(config)
        load_exactly(written, state_of(read_checkpoint(temporary), file), file)
        if any(not torch.equal(value, state[key]) for key, value in written.state_dict().items()):
            raise RuntimeError(f'{file} did not come back as it was written')
