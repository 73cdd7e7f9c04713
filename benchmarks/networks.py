"""The SDRNet of the benchmarks of routing."""

from __future__ import annotations

from typing import Any

import torch

from sdr_mm.images import IMAGENET, Normalization
from sdr_mm.models import SDRBackbone, SDRResNet
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.load_sdr import load_sdr


def sdr_network(checkpoint: str | None, **options: Any) -> tuple[SDRBackbone, Normalization]:
    """A trained SDRNet, or one of seeded random weights that anybody can make.

    Args:
        checkpoint (str, optional): What ``tools/train.py`` wrote.
        **options: Of the :class:`SDRResNet` of random weights.

    Returns:
        tuple: The network, and the normalization of its input.
    """
    if checkpoint is not None:
        backbone, config = load_sdr(checkpoint)
        return backbone, EvalSettings.of(config).normalization
    torch.manual_seed(0)
    # PyTorch's own initialization: under MMPretrain's each residual branch begins as zero.
    return SDRResNet(zero_init_residual=False, init_cfg=None, **options).eval(), IMAGENET
