"""Two augmented views of a whole batch at once, where the model runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..registry import MODELS
from .batched_colors import _FLIP, BatchedColors

# Crops that are tried before one as large as possible is taken from the center, as in torchvision.
_TRIES = 10
# The random numbers of a crop, by their columns; BatchedColors has the others.
_AREA, _ASPECT, _TOP, _LEFT = slice(0, _TRIES), slice(_TRIES, 2 * _TRIES), 2 * _TRIES, 2 * _TRIES + 1


@MODELS.register_module()
class BatchedViews(BatchedColors):
    """Makes the two views of each image, and normalizes them: random crop, flip, and changes of color.

    It takes the place of the augmentations of the pipeline, one image at a time in the processes of a loader, which
    small networks have to wait for. Crops are distributed as those of torchvision's ``RandomResizedCrop`` (bilinear,
    with antialiasing), the rest is :class:`BatchedColors`.

    The pipeline gives images of one size, and ends with ``PackInputs``; the data set is a :class:`ClusterDataset`.

    Args:
        size (int): Side of a view in pixels.
        crop_ratio_range (Sequence[float]): Least and largest part of the image's area. Defaults to (0.2, 1.0).
        aspect_ratio_range (Sequence[float]): Of a crop, width over height. Defaults to (3 / 4, 4 / 3).
        **kwargs: As for :class:`BatchedColors`.

    Raises:
        InputError: If an argument is out of range; from the call, if the images have no seed.
    """

    def __init__(self, size: int, crop_ratio_range: Sequence[float] = (0.2, 1.0),
                 aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.crop_ratio_range, self.aspect_ratio_range = size, crop_ratio_range, aspect_ratio_range
        if size < 1 or not 0 < crop_ratio_range[0] <= crop_ratio_range[1] <= 1 or \
                not 0 < aspect_ratio_range[0] <= aspect_ratio_range[1]:
            raise InputError(f'{type(self).__name__} needs size >= 1, parts of an area from 0 to 1 and positive aspect '
                             f'ratios, got size={size}, crop_ratio_range={tuple(crop_ratio_range)} and '
                             f'aspect_ratio_range={tuple(aspect_ratio_range)}')

    def sources(self, inputs: Any) -> list[Tensor]:
        """The same images ``(N, 3, H, W)`` for both views."""
        if not isinstance(inputs, Tensor):
            raise InputError(f"{type(self).__name__} crops whole images of one size, and these are crops or of many: "
                             "take 'BatchedColors' after 'CropViews', and 'ResizeAndCrop' here")
        return [inputs, inputs]

    def view(self, images: Tensor, seeds: np.ndarray, number: int) -> Tensor:
        """One view of each image, not normalized.

        Args:
            images (Tensor): ``(N, 3, H, W)``, RGB, float32 from 0 to 255.
            seeds (np.ndarray): ``(N,)`` int64.
            number (int): Which of the views.

        Returns:
            Tensor: ``(N, 3, size, size)``, float32 from 0 to 255.
        """
        draws = self._draws(seeds, number)
        rows, columns = self._crops(draws, *images.shape[-2:])
        flip = draws[:, _FLIP] < self.flip_prob
        vertical, horizontal = (resampling(*part, self.size, images.device) for part in (
            (*rows, images.shape[-2]), (*columns, images.shape[-1])))
        horizontal[flip] = horizontal[flip].flip(1)
        views = vertical.unsqueeze(1) @ images @ horizontal.unsqueeze(1).transpose(-1, -2)
        return self._recolor(views, draws, number)

    def _crops(self, draws: np.ndarray, height: int, width: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Top and height, left and width of the crops, in pixels, each ``(N,)``."""
        low, high = self.crop_ratio_range
        areas = height * width * (low + draws[:, _AREA] * (high - low))
        low, high = (math.log(ratio) for ratio in self.aspect_ratio_range)
        ratios = np.exp(low + draws[:, _ASPECT] * (high - low))
        widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
        fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
        row, first = np.arange(len(draws)), fits.argmax(1)
        found = fits[row, first]
        # In place of a crop that was not found the largest one in the middle.
        crop_width = np.where(found, widths[row, first], min(width, round(height * self.aspect_ratio_range[1])))
        crop_height = np.where(found, heights[row, first], min(height, round(width / self.aspect_ratio_range[0])))
        top = np.where(found, draws[:, _TOP] * (height - crop_height + 1), (height - crop_height) / 2)
        left = np.where(found, draws[:, _LEFT] * (width - crop_width + 1), (width - crop_width) / 2)
        return (np.floor(top), crop_height), (np.floor(left), crop_width)


def resampling(start: np.ndarray, extent: np.ndarray, source: int, size: int, device: torch.device) -> Tensor:
    """Matrices that cut a part out of a line of pixels and resize it, bilinear with antialiasing as Pillow's.

    Args:
        start (np.ndarray): ``(N,)``, first pixel of each part.
        extent (np.ndarray): ``(N,)``, how many pixels it has.
        source (int): Pixels of the line.
        size (int): Pixels that a part becomes.
        device (torch.device): Where the matrices shall be.

    Returns:
        Tensor: ``(N, size, source)`` float32; rows add up to 1.
    """
    first, count = (torch.from_numpy(values).to(device, torch.float32).view(-1, 1, 1) for values in (start, extent))
    pixel = torch.arange(source, device=device, dtype=torch.float32)
    scale = count / size
    center = first + (torch.arange(size, device=device, dtype=torch.float32).view(-1, 1) + 0.5) * scale
    weights = (1 - (pixel + 0.5 - center).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel >= first) & (pixel < first + count))
    return weights / weights.sum(-1, keepdim=True)
