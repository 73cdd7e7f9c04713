"""The SDRNet of the benchmarks of routing."""

from __future__ import annotations

from typing import Any

import torch

from sdr_mm.images import IMAGENET
from sdr_mm.models import SDRResNet
from sdr_mm.routing import load_sdr


def sdr_network(checkpoint: str | None, **options: Any) -> tuple[SDRResNet, dict[str, Any]]:
    """A trained SDRNet, or one of seeded random weights that anybody can make.

    Args:
        checkpoint (str, optional): What ``tools/train.py`` wrote.
        **options: Of the :class:`SDRResNet` of random weights.

    Returns:
        tuple: The network, and ``mean`` and ``std`` of its input.
    """
    if checkpoint is not None:
        backbone, info = load_sdr(checkpoint)
        return backbone, dict(mean=info.mean, std=info.std)
    torch.manual_seed(0)
    # PyTorch's own initialization: under MMPretrain's each residual branch begins as zero.
    backbone = SDRResNet(zero_init_residual=False, init_cfg=None, **options)
    return backbone.eval(), dict(mean=IMAGENET.mean, std=IMAGENET.std)
