"""Reading image files of any kind into three 8-bit channels, or saying clearly why not."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

MAX_PIXELS = 1 << 27
"""Default limit of :func:`read_rgb`, 134 million pixels. Pillow itself refuses more than 179 million."""


def _to_rgb(image: Image.Image, background: int) -> Image.Image:
    """Converts any mode of Pillow to RGB; what is transparent shows ``background``."""
    if image.mode.startswith('I'):
        # Pillow would clip integers of more than 8 bits to 255. Files have 16, whatever the mode can hold.
        values = np.clip(np.asarray(image), 0, 65535)
        return Image.fromarray((values // 257).astype(np.uint8)).convert('RGB')
    if image.mode in ('RGBA', 'RGBa', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, (background,) * 3 + (255,)), image).convert('RGB')
    return image.convert('RGB')


def read_rgb(path: str | os.PathLike, background: int = 255, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image file as RGB, turned upright as its EXIF orientation says.

    Palettes, gray values, 16 bits and CMYK are converted; an alpha channel is composited on a plain background. Of an
    animation the first frame is read.

    Args:
        path (str | PathLike): The file.
        background (int): Gray value, 0 to 255, behind transparent pixels. Defaults to 255, white.
        max_pixels (int): Images with more pixels are refused before they are decoded, because a small file can hold an
            image that fills the memory. Defaults to :data:`MAX_PIXELS`.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        InputError: If the image cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(f'{width} x {height} pixels are more than max_pixels={max_pixels}')
            return np.array(_to_rgb(ImageOps.exif_transpose(image), background))
    # The decoders of Pillow raise nearly anything on damaged files, SyntaxError and IndexError included.
    except Exception as error:
        reason = 'not an image in a known format'
        if not isinstance(error, UnidentifiedImageError):
            reason = ' '.join(str(getattr(error, 'strerror', None) or error or type(error).__name__).split())
        raise InputError(
            f"image {os.fspath(path)} cannot be decoded ({reason}): remove it, or go on without such images with "
            f"--on-error skip (on_error='skip' in a config)") from error
