"""The transforms that load an image and bring it to one size."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from PIL import Image

from ..errors import InputError
from ..images.reading import MAX_PIXELS, Reduction, open_rgb
from ..images.store import resize_and_crop
from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads an image file of any kind, see :func:`read_rgb`. Takes the place of ``LoadImageFromFile``.

    Required keys: ``img_path``. Added keys: ``img`` (H, W, 3) uint8 in the order **BGR**, which the other transforms
    and the preprocessors of the OpenMMLab packages expect; ``img_shape`` and ``ori_shape``, both (H, W).

    Args:
        background (int): Gray value behind transparent pixels. Defaults to 255, white.
        max_pixels (int): Larger images are refused. Defaults to :data:`MAX_PIXELS`.
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, or ``'skip'``, which warns once
            per image (and process) and returns None, whereupon the data set takes another image. Defaults to
            ``'stop'``.

    Raises:
        InputError: If ``on_error`` is something else; from the call, if an image cannot be decoded and ``on_error`` is
            ``'stop'``.
    """

    def __init__(self, background: int = 255, max_pixels: int = MAX_PIXELS, on_error: str = 'stop') -> None:
        if on_error not in ('stop', 'skip'):
            raise InputError(f"on_error is 'stop' or 'skip', got {on_error!r}")
        self.background, self.max_pixels, self.on_error = background, max_pixels, on_error
        self._skipped: set[str] = set()

    def open(self, path: str, reduction: Reduction | None = None) -> Image.Image | None:
        """The image as RGB, with ``reduction`` as for :func:`open_rgb`; None if it is to be skipped."""
        try:
            return open_rgb(path, self.background, self.max_pixels, reduction)
        except InputError as error:
            if self.on_error == 'stop':
                raise
            if path not in self._skipped:
                self._skipped.add(path)
                print_log(f'skipped: {error}', logger='current', level=logging.WARNING)
            return None

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds the image to ``results``; None if it is to be skipped."""
        image = self.open(results['img_path'])
        if image is None:
            return None
        results['img'] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        results['img_shape'] = results['ori_shape'] = (image.height, image.width)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(background={self.background}, max_pixels={self.max_pixels}, '
                f"on_error='{self.on_error}')")


@TRANSFORMS.register_module()
class ResizeAndCrop(BaseTransform):
    """Short side to ``resize`` and the center of ``size``, see :func:`resize_and_crop`, however long the image is.

    Required keys: ``img`` (H, W, 3) uint8. Modified keys: ``img`` (size, size, 3), ``img_shape``.

    Args:
        resize (int): Short side in pixels.
        size (int): Side of the crop in pixels, at most ``resize``.

    Raises:
        InputError: If they are out of range.
    """

    def __init__(self, resize: int, size: int) -> None:
        if not 0 < size <= resize:
            raise InputError(f'ResizeAndCrop needs 0 < size <= resize, got size={size} and resize={resize}')
        self.resize, self.size = resize, size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces the image in ``results``."""
        results['img'] = np.ascontiguousarray(resize_and_crop(results['img'], self.resize, self.size))
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(resize={self.resize}, size={self.size})'
