"""What the transferability scores take: features of labeled images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

Array = np.ndarray | Tensor


def labeled_features(features: Array, labels: Array, score: str, *,
                      multi_label: bool = False) -> tuple[Tensor, Tensor]:
    """Checks the input of a score and brings it into one form.

    Args:
        features (Array): (n, d).
        labels (Array): (n,) class numbers, or (n, classes) of 0 and 1.
        score (str): Name of the score, for messages.
        multi_label (bool): Whether the score can have several labels for an image. Defaults to False.

    Returns:
        tuple: The features (n, d) and the labels (n, classes) of 0 and 1, both in float64 on the device of
        the features. Classes without an image are left out.

    Raises:
        InputError: If features are not finite, shapes do not fit, there is only one class, or the labels
            are of a kind that the score cannot have.
    """
    features, labels = torch.as_tensor(features), torch.as_tensor(labels)
    if features.dim() != 2 or not features.numel():
        raise InputError(f'{score} needs features (n, d), got {tuple(features.shape)}')
    if labels.dim() not in (1, 2) or len(labels) != len(features) or labels.is_floating_point():
        raise InputError(f'{score} needs a class number, or a row of 0 and 1, for each of {len(features)} images, got '
                         f'{tuple(labels.shape)} of {labels.dtype}')
    broken = int((~features.isfinite().all(1)).sum())
    if broken:
        raise InputError(f'{score}: features of {broken} of {len(features)} images are not finite (NaN or infinite): '
                         f'the network has diverged, take another checkpoint')
    labels = labels.to(features.device)
    if labels.dim() == 2:
        if not multi_label:
            raise InputError(f'{score} takes one label for an image, these have several: score them by LogME or kNN')
        if ((labels != 0) & (labels != 1)).any():
            raise InputError(f'{score} needs rows of 0 and 1 where images have several labels')
        empty = (labels == 0).all(0).nonzero()
        if len(empty):
            raise InputError(f'{score}: no image has class number {int(empty[0])}: leave the class out, or give images '
                             f'of it')
        return features.double(), labels.double()
    number = labels.unique(return_inverse=True)[1]
    if int(number.max()) == 0:
        raise InputError(f'{score} needs images of at least two classes: these have one')
    return features.double(), torch.nn.functional.one_hot(number).double()
