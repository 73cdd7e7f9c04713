"""What classifiers and scores ask of features and labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

Array = np.ndarray | Tensor


def check_labeled(features: Tensor, labels: Tensor, who: str) -> None:
    """Refuses what are not features (n, d) with a class number, or a row of 0 and 1, for each image ``who`` takes."""
    if features.dim() != 2 or not features.numel():
        raise InputError(f'{who} needs features (n, d), got {tuple(features.shape)}')
    if labels.dim() not in (1, 2) or len(labels) != len(features) or labels.is_floating_point():
        raise InputError(f'{who} needs a class number, or a row of 0 and 1, for each of {len(features)} images, got '
                         f'{tuple(labels.shape)} of {labels.dtype}')
    if labels.dim() == 1 and labels.min() < 0:
        raise InputError(f'{who} needs class numbers from 0: they must not be negative')
    if labels.dim() == 2 and ((labels != 0) & (labels != 1)).any():
        raise InputError(f'{who} needs rows of 0 and 1 where images have several labels')


def check_finite(features: Tensor, what: str = 'images') -> None:
    """Refuses features with NaN or infinity."""
    broken = int((~features.isfinite().all(1)).sum())
    if broken:
        raise InputError(f'features of {broken} of {len(features)} {what} are not finite (NaN or infinite): '
                         f'the network has diverged, take another checkpoint')


def count_classes(labels: Tensor, announced: int | None) -> int:
    """Number of classes, by default the highest label + 1; refuses labels of others than were announced."""
    classes = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
    if announced is not None and (announced < classes or labels.dim() == 2 and announced != classes):
        raise InputError(f'the labels have {classes} classes, but {announced} were announced')
    return announced or classes


def rows(features: Tensor, numbers: np.ndarray) -> Tensor:
    """Those rows, on the device of the features."""
    return features[torch.from_numpy(numbers).to(features.device)]
