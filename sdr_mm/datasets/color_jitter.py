"""Color jitter under any version of NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import ColorJitter as PretrainColorJitter
from PIL import Image
from torchvision.transforms.functional import adjust_hue

from ..registry import TRANSFORMS


def _adjust_hue(image: np.ndarray, factor: float) -> np.ndarray:
    rgb = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    return np.ascontiguousarray(np.asarray(adjust_hue(rgb, factor))[..., ::-1])


@TRANSFORMS.register_module()
class ColorJitter(PretrainColorJitter):
    """MMPretrain's ``ColorJitter``, whose hue works with NumPy 2 too.

    ``mmcv 2.2.0`` casts a negative shift of the hue to uint8, which NumPy 2 refuses. The factors and the order of the
    four changes are drawn as in the base class; the hue is changed by torchvision.

    Args:
        brightness (float | Sequence[float]): A factor is drawn from 1 minus to 1 plus this, or between two numbers.
            Defaults to 0.
        contrast (float | Sequence[float]): The same of the contrast. Defaults to 0.
        saturation (float | Sequence[float]): The same of the saturation. Defaults to 0.
        hue (float | Sequence[float]): A shift of the hue is drawn from minus to plus this, at most 0.5, or between two
            numbers. Defaults to 0.
        backend (str): What changes the first three, ``'pillow'`` or ``'cv2'``. Defaults to 'pillow'.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Changes ``results['img']``, (H, W, 3) uint8 in the order BGR."""
        change = (partial(mmcv.adjust_brightness, backend=self.backend),
                  partial(mmcv.adjust_contrast, backend=self.backend),
                  partial(mmcv.adjust_color, beta=None, backend=self.backend), _adjust_hue)
        order, *factors = self._rand_params()
        for index in order:
            if factors[index] is not None:
                results['img'] = change[index](results['img'], factors[index])
        return results
