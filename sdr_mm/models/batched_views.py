"""Two augmented views of a whole batch at once, where the model runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from ..errors import InputError
from ..permutation import uniform
from ..registry import MODELS

# Crops that are tried before one as large as possible is taken from the center, as in torchvision.
_TRIES = 10
# The random numbers of a view, by their columns.
_AREA, _ASPECT = slice(0, _TRIES), slice(_TRIES, 2 * _TRIES)
_TOP, _LEFT, _FLIP, _JITTER, _GRAY = range(2 * _TRIES, 2 * _TRIES + 5)
_ORDER, _FACTORS = slice(2 * _TRIES + 5, 2 * _TRIES + 8), slice(2 * _TRIES + 8, 2 * _TRIES + 11)
_NUMBERS = 2 * _TRIES + 11

# Of red, green and blue in gray (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


@MODELS.register_module()
class BatchedViews(SelfSupDataPreprocessor):
    """Makes the two views of each image, and normalizes them: random crop, flip, and changes of color.

    It takes the place of the augmentations of the pipeline, one image at a time in the processes of a loader, which
    small networks have to wait for. The distributions are those of torchvision's ``RandomResizedCrop`` (bilinear, with
    antialiasing), ``RandomHorizontalFlip``, ``ColorJitter`` (without hue) and ``RandomGrayscale``. The views of an
    image are a function of its seed alone, so a resumed run sees the same ones, on any number of ranks.

    The pipeline gives images of one size, and ends with ``PackInputs``; the data set is a :class:`ClusterDataset`.

    Args:
        size (int): Side of a view in pixels.
        crop_ratio_range (Sequence[float]): Least and largest part of the image's area. Defaults to (0.2, 1.0).
        aspect_ratio_range (Sequence[float]): Of a crop, width over height. Defaults to (3 / 4, 4 / 3).
        flip_prob (float): Defaults to 0.5.
        brightness, contrast, saturation (float): A factor is drawn from 1 minus to 1 plus this. Default to 0.
        jitter_prob (float): How often these three are changed, in random order. Defaults to 1.
        gray_prob (float): How often a view becomes gray. Defaults to 0.
        **kwargs: ``mean``, ``std`` and ``to_rgb`` of the images, as for ``SelfSupDataPreprocessor``.

    Raises:
        InputError: If an argument is out of range; from the call, if the images have no seed.
    """

    def __init__(self, size: int, crop_ratio_range: Sequence[float] = (0.2, 1.0),
                 aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3), flip_prob: float = 0.5, brightness: float = 0.0,
                 contrast: float = 0.0, saturation: float = 0.0, jitter_prob: float = 1.0, gray_prob: float = 0.0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.crop_ratio_range, self.aspect_ratio_range = size, crop_ratio_range, aspect_ratio_range
        self.strengths = (brightness, contrast, saturation)
        self.flip_prob, self.jitter_prob, self.gray_prob = flip_prob, jitter_prob, gray_prob
        probabilities = (flip_prob, jitter_prob, gray_prob, *self.strengths)
        ranges = 0 < crop_ratio_range[0] <= crop_ratio_range[1] <= 1 and 0 < aspect_ratio_range[0] <= \
            aspect_ratio_range[1]
        if size < 1 or not ranges or not all(0 <= value <= 1 for value in probabilities):
            raise InputError(f'{type(self).__name__} needs size >= 1, parts of an area from 0 to 1, positive aspect '
                             f'ratios, and probabilities and strengths from 0 to 1, got size={size}, '
                             f'crop_ratio_range={tuple(crop_ratio_range)}, '
                             f'aspect_ratio_range={tuple(aspect_ratio_range)} and {probabilities}')

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Makes of ``inputs``, ``(N, 3, H, W)`` uint8, a list of two views ``(N, 3, size, size)``, normalized."""
        data = self.cast_data(data)
        images, samples = data['inputs'], data['data_samples']
        seeds = [sample.get('seed') for sample in samples]
        if None in seeds:
            raise InputError(f'{type(self).__name__} draws the views from the seed of each image, and these have none: '
                             "let train_dataloader.dataset be a 'ClusterDataset' and its batch_sampler a "
                             "'ClusterAwareSampler'")
        images = (images.flip(1) if self._channel_conversion else images).float()
        views = [self.view(images, np.array(seeds), number) for number in range(2)]
        if self._enable_normalize:
            views = [(view - self.mean) / self.std for view in views]
        return dict(inputs=views, data_samples=samples)

    def view(self, images: Tensor, seeds: np.ndarray, number: int) -> Tensor:
        """One view of each image, not normalized.

        Args:
            images (Tensor): ``(N, 3, H, W)``, RGB, float32 from 0 to 255.
            seeds (np.ndarray): ``(N,)`` int64.
            number (int): Which of the views.

        Returns:
            Tensor: ``(N, 3, size, size)``, float32 from 0 to 255.
        """
        draws = uniform(seeds[:, None], number, np.arange(_NUMBERS))
        rows, columns = self._crops(draws, *images.shape[-2:])
        flip = draws[:, _FLIP] < self.flip_prob
        vertical, horizontal = (resampling(*part, self.size, images.device) for part in (
            (*rows, images.shape[-2]), (*columns, images.shape[-1])))
        horizontal[flip] = horizontal[flip].flip(1)
        views = vertical.unsqueeze(1) @ images @ horizontal.unsqueeze(1).transpose(-1, -2)
        return self._recolor(views, draws)

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

    def _recolor(self, views: Tensor, draws: np.ndarray) -> Tensor:
        """Brightness, contrast and saturation in random order, then gray."""
        if any(self.strengths):
            order = draws[:, _ORDER].argsort(1)
            factors = 1 + (2 * draws[:, _FACTORS] - 1) * np.array(self.strengths)
            factors[draws[:, _JITTER] >= self.jitter_prob] = 1
            for place in range(3):
                for change in range(3):
                    turn = np.flatnonzero((order[:, place] == change) & (factors[:, change] != 1))
                    if len(turn):
                        views[turn] = _change(views[turn], change, torch.from_numpy(factors[turn, change]).to(views))
        gray = draws[:, _GRAY] < self.gray_prob
        if gray.any():
            views[gray] = to_gray(views[gray]).expand(-1, 3, -1, -1)
        return views


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


def to_gray(images: Tensor) -> Tensor:
    """``(N, 1, H, W)`` of RGB images ``(N, 3, H, W)``."""
    return (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _change(images: Tensor, change: int, factors: Tensor) -> Tensor:
    """Mixes images with black (brightness), their mean gray (contrast) or themselves in gray (saturation)."""
    factors = factors.view(-1, 1, 1, 1)
    if change == 0:
        return (images * factors).clamp_(0, 255)
    other = to_gray(images)
    if change == 1:
        other = other.mean((-1, -2), keepdim=True)
    return torch.lerp(other, images, factors).clamp_(0, 255)
