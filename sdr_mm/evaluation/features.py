"""Features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def pooled_features(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Global average of the last feature map.

    Args:
        network (nn.Module): A backbone that returns a tuple of maps ``(N, C, h, w)``. It runs in
            evaluation mode and is in its former mode afterwards.
        batches (Iterable[Tensor]): Images ``(N, 3, H, W)``, normalised, on the network's device.

    Returns:
        Tensor: (n, C) float32 on that device, not normalised.
    """
    mode = network.training
    network.eval()
    try:
        return torch.cat([network(batch)[-1].float().mean((2, 3)) for batch in batches])
    finally:
        network.train(mode)
