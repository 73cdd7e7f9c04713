"""What of a model ``torch.compile`` compiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import nn

from ..errors import InputError
from ..models.backbone import SDRBackbone
from ..models.siamese import SiameseSDR


def compile_backbones(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Compiles the backbone of ``model`` in place, and the average of it that is a target.

    There nearly all of the work is. What is small or changes from iteration to iteration stays eager: neck, head and
    losses, what hooks look at, the optimizer. Weights keep their names. An algorithm on an SDRNet needs one graph for
    each kind of forward: the super-net's, that of any sub-net, the teacher's, and those of a target.

    Args:
        model (nn.Module): An algorithm of self-supervised learning.
        options (Mapping[str, Any]): Of ``torch.compile``.

    Raises:
        InputError: If nothing can be compiled here, as without a C++ compiler, or the options are none.
    """
    device = next(model.parameters()).device
    try:
        torch.compile(torch.square, **options)(torch.zeros(1, device=device))
    except Exception as error:  # Backends raise what they like.
        reason = ' '.join(str(error).split())[:300]
        raise InputError(f'torch.compile does not work here ({type(error).__name__}: {reason}): train without '
                         '--compile and compile=…, or install what it needs') from error
    for module in model.modules():
        if isinstance(module, (BaseBackbone, SDRBackbone)):
            module.compile(**options)
    if isinstance(model, SiameseSDR):
        model.use_path_tensors()
