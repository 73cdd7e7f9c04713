"""What a learned feature has to beat: features that nobody had to learn."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_features(images: np.ndarray, side: int = 16) -> Tensor:
    """Raw pixels, averaged down to ``side`` × ``side``.

    Args:
        images (np.ndarray): (n, H, W, 3) uint8.
        side (int): Defaults to 16.

    Returns:
        Tensor: (n, 3 * side * side) float32, centered at mid-gray so that cosines tell them apart.
    """
    maps = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5
    return F.adaptive_avg_pool2d(maps, side).flatten(1)


def color_histograms(images: np.ndarray, levels: int = 4) -> Tensor:
    """Joint histogram of the three color channels.

    Args:
        images (np.ndarray): (n, H, W, 3) uint8.
        levels (int): Intervals per channel; the histogram has ``levels ** 3`` bins. Defaults to 4.

    Returns:
        Tensor: (n, levels ** 3) float32, the square roots of the shares, so that the cosine of two
        histograms is their Bhattacharyya coefficient.
    """
    bins = (images.astype(np.int64) * levels) // 256
    codes = (bins[..., 0] * levels + bins[..., 1]) * levels + bins[..., 2]
    counts = np.stack([np.bincount(code.ravel(), minlength=levels**3) for code in codes])
    return torch.from_numpy(counts / counts.sum(1, keepdims=True)).float().sqrt()
