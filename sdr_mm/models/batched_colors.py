"""Flips, and changes of color, of two views of a whole batch at once, where the model runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor

from ..errors import InputError
from ..images.crops import EncodedCrops
from ..images.dali import dali_crops
from ..permutation import uniform
from ..registry import MODELS

# The random numbers of a view, by their columns. The first ones are those of a crop, see BatchedViews.
_FLIP, _JITTER, _GRAY = range(22, 25)
_ORDER, _FACTORS = [25, 26, 27, 31], [28, 29, 30, 32]
_BLUR, _SIGMA, _SOLARIZE = range(33, 36)
_NUMBERS = 36

# Factors of brightness, contrast and saturation, and a shift of the hue, that change nothing.
_NEUTRAL = np.array([1.0, 1.0, 1.0, 0.0])

# Of red, green and blue in gray (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)

# Values of images that a processor changes at a time, so that they stay in its cache: a few times faster.
_CACHED = 1 << 18


@MODELS.register_module()
class BatchedColors(SelfSupDataPreprocessor):
    """Flips two crops of each image, changes their colors, and normalizes them.

    It takes the place of all augmentations of the pipeline but the crop, which small networks have to wait for, one
    image at a time in the processes of a loader. In this order, with the distributions of MMPretrain's transforms:
    flip, ``ColorJitter``, ``RandomGrayscale``, ``GaussianBlur`` and ``Solarize(thr=128)``, in floating point, without
    the rounding between the steps. The views of an image are a function of its seed alone, so a resumed run sees the
    same ones, on any number of ranks.

    The pipeline is ``CropViews`` and ``PackInputs``; the data set is a :class:`ClusterDataset`.

    Args:
        flip_prob (float): Defaults to 0.5.
        brightness (float): A factor is drawn from 1 minus to 1 plus this. Defaults to 0.
        contrast (float): The same of the contrast. Defaults to 0.
        saturation (float): The same of the saturation. Defaults to 0.
        jitter_prob (float): How often these three and the hue are changed, in random order. Defaults to 1.
        gray_prob (float): How often a view becomes gray. Defaults to 0.
        hue (float): A shift of the hue is drawn from minus to plus this, at most 0.5; 1 is the whole circle. Defaults
            to 0.
        blur_prob (float | Sequence[float]): How often a view is blurred; two numbers are for the first and the second
            view. Defaults to 0.
        blur_sigma (Sequence[float]): Least and largest standard deviation of the blur in pixels. Defaults to
            (0.1, 2.0).
        solarize_prob (float | Sequence[float]): How often the bright half of a view is inverted, as ``blur_prob``.
            Defaults to 0.
        **kwargs: ``mean``, ``std`` and ``to_rgb`` of the images, as for ``SelfSupDataPreprocessor``.

    Raises:
        InputError: If an argument is out of range; from the call, if the images have no seed or are not two crops each.
    """

    def __init__(self, flip_prob: float = 0.5, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0,
                 jitter_prob: float = 1.0, gray_prob: float = 0.0, hue: float = 0.0,
                 blur_prob: float | Sequence[float] = 0.0, blur_sigma: Sequence[float] = (0.1, 2.0),
                 solarize_prob: float | Sequence[float] = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strengths = (brightness, contrast, saturation, hue)
        self.flip_prob, self.jitter_prob, self.gray_prob = flip_prob, jitter_prob, gray_prob
        self.blur_prob, self.solarize_prob = _of_each_view(blur_prob), _of_each_view(solarize_prob)
        self.blur_sigma = blur_sigma
        probabilities = (flip_prob, jitter_prob, gray_prob, *self.blur_prob, *self.solarize_prob, *self.strengths)
        if len(probabilities) != 11 or not all(0 <= value <= 1 for value in probabilities) or hue > 0.5 or \
                not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise InputError(f'{type(self).__name__} needs probabilities and strengths from 0 to 1, of the hue to 0.5, '
                             'one probability of blur and solarization or one for each of two views, and positive '
                             f'deviations, got {probabilities} and blur_sigma={tuple(blur_sigma)}')

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Makes of ``inputs`` a list of two views ``(N, 3, S, S)``, normalized float32.

        ``inputs`` are two tensors ``(N, 3, S, S)`` uint8, crops of the same images. If there are none the samples have
        the ``crops`` of ``CropViews(decoder='dali')``.
        """
        if 'inputs' not in data:
            data = dict(data, inputs=self._decode(data['data_samples']))
        data = self.cast_data(data)
        samples = data['data_samples']
        seeds = [sample.get('seed') for sample in samples]
        if None in seeds:
            raise InputError(f'{type(self).__name__} draws the views from the seed of each image, and these have none: '
                             "let train_dataloader.dataset be a 'ClusterDataset' and its batch_sampler a "
                             "'ClusterAwareSampler'")
        sources = self.sources(data['inputs'])
        views = []
        # Mixed precision is for the network: half a mantissa is not enough for 256 levels.
        with torch.autocast(sources[0].device.type, enabled=False):
            for number, images in enumerate(sources):
                images = (images.flip(1) if self._channel_conversion else images).float()
                view = self.view(images, np.array(seeds), number)
                views.append(view.sub_(self.mean).div_(self.std) if self._enable_normalize else view)
        return dict(inputs=views, data_samples=samples)

    def _decode(self, samples: Sequence[DataSample]) -> list[Tensor]:
        """Two tensors ``(N, 3, S, S)`` uint8 of the ``crops`` of the samples, which are taken out of them."""
        crops = [sample.pop('crops', None) for sample in samples]
        if any(crop is None for crop in crops):
            raise InputError(f"{type(self).__name__} finds no crops: with decoder='dali' of 'CropViews' let the "
                             "meta_keys of 'PackInputs' have 'crops'")
        jpegs = [number for number, crop in enumerate(crops) if isinstance(crop, EncodedCrops)]
        decoded = dali_crops(self.device)([crops[number] for number in jpegs]) if jpegs else []
        if len(jpegs) == len(crops):
            return decoded
        others = [number for number, crop in enumerate(crops) if not isinstance(crop, EncodedCrops)]
        views = []
        for number, cut in enumerate(zip(*(crops[other] for other in others))):
            images = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).to(self.device)
            views.append(images.new_empty((len(crops), *images.shape[1:])))
            views[-1][others] = images
            if jpegs:
                views[-1][jpegs] = decoded[number]
        return views

    def sources(self, inputs: Any) -> list[Tensor]:
        """What each of the views is made of."""
        if not isinstance(inputs, list) or len(inputs) != 2:
            raise InputError(f"{type(self).__name__} needs two crops of each image: let the pipeline be 'CropViews' "
                             "and 'PackInputs', and the collate_fn 'default_collate'")
        return inputs

    def view(self, images: Tensor, seeds: np.ndarray, number: int) -> Tensor:
        """One view of each image, not normalized.

        Args:
            images (Tensor): ``(N, 3, S, S)``, RGB, float32 from 0 to 255. They are changed.
            seeds (np.ndarray): ``(N,)`` int64.
            number (int): Which of the views.

        Returns:
            Tensor: ``(N, 3, S, S)``, float32 from 0 to 255.
        """
        draws = self._draws(seeds, number)
        _apply(lambda part: part.copy_(part.flip(-1)), images, draws[:, _FLIP] < self.flip_prob)
        return self._recolor(images, draws, number)

    @staticmethod
    def _draws(seeds: np.ndarray, number: int) -> np.ndarray:
        """The random numbers of a view of each image, ``(N, _NUMBERS)``."""
        return uniform(seeds[:, None], number, np.arange(_NUMBERS))

    def _recolor(self, views: Tensor, draws: np.ndarray, number: int) -> Tensor:
        """All but the flip, in place."""
        order = draws[:, _ORDER].argsort(1)
        factors = _NEUTRAL + (2 * draws[:, _FACTORS] - 1) * np.array(self.strengths)
        factors[draws[:, _JITTER] >= self.jitter_prob] = _NEUTRAL
        gray = draws[:, _GRAY] < self.gray_prob
        blurred = draws[:, _BLUR] < self.blur_prob[number]
        sigmas = self.blur_sigma[0] + draws[:, _SIGMA] * (self.blur_sigma[1] - self.blur_sigma[0])
        solarized = draws[:, _SOLARIZE] < self.solarize_prob[number]
        step = len(views) if views.is_cuda else max(1, _CACHED // views[0].numel())
        for first in range(0, len(views), step):
            some = slice(first, first + step)
            _jitter(views[some], order[some], factors[some])
            _apply(_make_gray, views[some], gray[some])
            _apply(blur, views[some], blurred[some], sigmas[some])
            _apply(_solarize, views[some], solarized[some])
        return views


def _of_each_view(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _apply(change: Callable[..., object], views: Tensor, which: np.ndarray, values: np.ndarray | None = None) -> None:
    """Changes some of the views in place, each by its value."""
    turn = np.flatnonzero(which)
    if not len(turn):
        return
    part = views if len(turn) == len(views) else views[turn]
    change(part, *(() if values is None else (torch.from_numpy(values[turn]).to(part),)))
    if part is not views:
        views[turn] = part


def _jitter(views: Tensor, order: np.ndarray, factors: np.ndarray) -> None:
    """Brightness, contrast, saturation and hue in the order of each view, in place."""
    changes = (_brighten, _change_contrast, _saturate, shift_hue)
    for place in range(len(changes)):
        for number in set(order[:, place].tolist()):
            turn = (order[:, place] == number) & (factors[:, number] != _NEUTRAL[number])
            _apply(changes[number], views, turn, factors[:, number])


def _brighten(images: Tensor, factors: Tensor) -> None:
    images.mul_(factors.view(-1, 1, 1, 1)).clamp_(0, 255)


def _change_contrast(images: Tensor, factors: Tensor) -> None:
    mean = to_gray(images).mean((-1, -2), keepdim=True)
    torch.lerp(mean, images, factors.view(-1, 1, 1, 1), out=images).clamp_(0, 255)


def _saturate(images: Tensor, factors: Tensor) -> None:
    torch.lerp(to_gray(images), images, factors.view(-1, 1, 1, 1), out=images).clamp_(0, 255)


def _make_gray(images: Tensor) -> None:
    images.copy_(to_gray(images).expand_as(images))


def _solarize(images: Tensor) -> None:
    # Of whole numbers from 128 on, all that are larger than what they become.
    torch.minimum(images, 255 - images, out=images)


def to_gray(images: Tensor) -> Tensor:
    """``(N, 1, H, W)`` of RGB images ``(N, 3, H, W)``."""
    red, green, blue = (images[:, channel] * part for channel, part in enumerate(_LUMA))
    return red.add_(green).add_(blue).unsqueeze(1)


def shift_hue(images: Tensor, shifts: Tensor) -> None:
    """Turns the hue of RGB images by parts of a circle, in place; HSV's saturation and value stay.

    On the hexagon of colors of a given value ``max`` and chroma ``max - min`` a hue is a distance along the rim, six in
    all, and a channel falls from its maximum to its minimum between the distances 1 and 2 from its corner. There is no
    branch and no remainder in it, which take most of the time of a conversion to HSV and back.

    Args:
        images (Tensor): ``(N, 3, H, W)``, float.
        shifts (Tensor): ``(N,)`` from -0.5 to 0.5.
    """
    red, green, blue = images.unbind(1)
    low = torch.minimum(red, green).minimum(blue)
    high = torch.maximum(red, green).maximum(blue)
    chroma = high - low
    # The distance from red, towards green or towards blue; 0 for gray.
    hue = high.sub_(low, alpha=2).sub_(red).add_(green).add_(blue).div_(chroma.clamp(min=1e-6))
    hue.copysign_(green - blue).add_(6 * shifts.view(-1, 1, 1))
    hue.sub_((hue / 6).round_(), alpha=6)
    # From the corners red, green and blue; 6 is once around.
    distance = (hue.unsqueeze(1) - hue.new_tensor([0, 2, -2]).view(3, 1, 1)).abs_()
    part = distance.sub_(3).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(low.unsqueeze(1), part, chroma.unsqueeze(1), out=images)


def blur(images: Tensor, sigmas: Tensor) -> None:
    """Gaussian blur in place, as Pillow approximates it (:func:`blur_kernel`); the rim is continued outwards.

    Args:
        images (Tensor): ``(N, C, H, W)``, float.
        sigmas (Tensor): ``(N,)`` standard deviations in pixels.
    """
    kernels = [blur_kernel(sigma) for sigma in sigmas.tolist()]
    if images.device.type == 'cpu':  # PyTorch's convolution takes five times as long there.
        for image, kernel in zip(images, kernels):
            for plane in image.numpy():
                plane[:] = cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    else:
        images.copy_(_blur_as_convolution(images, kernels))


def blur_kernel(sigma: float) -> np.ndarray:
    """Weights of Pillow's ``GaussianBlur``: three boxes with fractional ends that together have this deviation.

    For less than a pixel they are far from a sampled Gaussian: with 0.35 the Laplacian of a photo has 1.4 times less
    variance. (Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering, 2011.)

    Args:
        sigma (float): Standard deviation in pixels.

    Returns:
        np.ndarray: (2 n + 1,) float64, whose sum is 1.
    """
    variance = sigma**2 / 3
    inner = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)  # whole pixels to either side
    end = (2 * inner + 1) * (inner * (inner + 1) - 3 * variance) / (6 * (variance - (inner + 1)**2))
    box = np.array([end, *[1.0] * (2 * inner + 1), end]) / (2 * (inner + end) + 1)
    return np.convolve(np.convolve(box, box), box)


def _blur_as_convolution(images: Tensor, kernels: Sequence[np.ndarray]) -> Tensor:
    count, channels, height, width = images.shape
    radius = max(len(kernel) for kernel in kernels) // 2
    # Zeros beside the shorter ones, so that an image does not depend on the others of the batch.
    weights = images.new_tensor(np.stack([np.pad(kernel, radius - len(kernel) // 2) for kernel in kernels]))
    weights = weights.repeat_interleave(channels, 0)
    padded = F.pad(images, (radius,) * 4, mode='replicate').reshape(1, count * channels, height + 2 * radius, -1)
    columns = F.conv2d(padded, weights.view(-1, 1, 2 * radius + 1, 1), groups=count * channels)
    return F.conv2d(columns, weights.view(-1, 1, 1, 2 * radius + 1), groups=count * channels).view_as(images)
