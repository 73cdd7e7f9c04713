"""Reading image files of any kind into three 8-bit channels, or saying clearly why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from ..errors import InputError
from .depth import colors_to_8_bits, gray_to_8_bits, is_wide, raw_mode, use_low_bytes
from .metadata import JPEG, PNG, TURNS, check_png, orientation, turn, without_metadata

FORMATS = ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'JPEG2000', 'AVIF')
"""What Pillow may take a file for, whatever its name. It knows others that run a program to be decoded."""

Reduction = Callable[[int, int], int]
"""Of the height and width of a JPEG: 1, 2, 4 or 8, how many times smaller it is to be decoded."""

MAX_PIXELS = 1 << 27
"""Default limit of :func:`read_rgb`, 134 million pixels. Pillow itself refuses more than 179 million."""


@cache
def _formats() -> list[str]:
    """Those of :data:`FORMATS` that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image, stored: str, other: ImageFile | None, background: int) -> Image.Image:
    """Converts any mode of Pillow to RGB; what is transparent shows ``background``.

    Args:
        image (Image): As it was loaded.
        stored (str): Its :func:`raw_mode`.
        other (ImageFile, optional): The same file, not loaded yet, if its colors have 16 bits.
        background (int): Gray value.
    """
    key = image.info.get('transparency')  # the one color that is transparent, or an alpha value for each of a palette
    if is_wide(image):
        gray = gray_to_8_bits(image)
        if isinstance(key, int):
            gray[np.asarray(image) == key] = background
        return Image.fromarray(gray).convert('RGB')
    if other is not None:
        high = np.asarray(image)
        if high[..., :3].max() < 64 or key is not None:
            use_low_bytes(other)
            low = np.asarray(other)
            if high[..., :3].max() < 64:
                image = Image.fromarray(colors_to_8_bits(high, low))
            if isinstance(key, tuple):
                image.putalpha(Image.fromarray(np.where((high * np.uint16(256) + low == key).all(-1), 0, 255)
                                               .astype(np.uint8)))
    elif stored == 'LA;16B' and 0 < np.asarray(image)[..., 0].max() < 16:
        raise ValueError('only the lowest of its 16 bits are used: save it with 8 bits')
    elif image.mode == 'L' and isinstance(key, int):
        image.info['transparency'] = key * {'L;2': 85, 'L;4': 17}.get(stored, 1) & 255
    elif image.mode == 'RGB' and isinstance(key, tuple):
        image.info['transparency'] = tuple(value & 255 for value in key)
    if image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, (background,) * 3 + (255,)), image).convert('RGB')
    return image.convert('RGB')


def _decode(source: IO[bytes], background: int, max_pixels: int, reduction: Reduction | None) -> Image.Image:
    """Reads an image as :func:`open_rgb` does; raises nearly anything."""
    with Image.open(source, formats=_formats()) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(f'{width} x {height} pixels are more than max_pixels={max_pixels}')
        if image.format == 'TIFF' and image.tile[0][0] == 'raw':
            # Pillow leaves the place of strips that are not there black.
            area = sum((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile)
            if area < width * height:
                raise ValueError(f'only {area} of its {width * height} pixels are in the file')
        stored = raw_mode(image)
        # A smaller image has its rounded-up rim at the right and bottom, which turning would move.
        if reduction is not None and image.format in ('JPEG', 'MPO') and (orientation(image) or 1) not in TURNS:
            factor = reduction(height, width)
            if factor > 1:
                image.draft(None, (width // factor, height // factor))
        image.load()
        if stored.startswith(('RGB;16', 'RGBX;16', 'RGBA;16')):
            with Image.open(source, formats=_formats()) as other:
                result = _to_rgb(image, stored, other, background)
        else:
            result = _to_rgb(image, stored, None, background)
        return turn(result, orientation(image))


def _read(path: str, background: int, max_pixels: int, reduction: Reduction | None) -> Image.Image:
    """Reads a file as :func:`open_rgb` does. Metadata that Pillow stumbles over are taken away."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
        raise ValueError('it is no file')
    with open(path, 'rb') as file:
        start = file.read(len(PNG))
        if not start.startswith((PNG, JPEG)):
            # By its path Pillow would map a plain TIFF into memory and mix up width and height of a turned one.
            return _decode(file, background, max_pixels, reduction)
        data = start + file.read()
    check_png(data)
    try:
        return _decode(BytesIO(data), background, max_pixels, reduction)
    except Exception:
        if (rest := without_metadata(data)) == data:
            raise
        return _decode(BytesIO(rest), background, max_pixels, reduction)


def read_rgb(path: str | os.PathLike[str], background: int = 255, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image file as RGB, turned upright as its EXIF orientation says.

    Palettes, gray values, CMYK and more than 8 bits (:func:`~sdr_mm.images.depth.gray_to_8_bits`) are converted; an
    alpha channel is composited on a plain background. Of an animation the first frame is read. Metadata, the
    orientation apart, change nothing.

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
    return np.array(open_rgb(path, background, max_pixels))


def open_rgb(path: str | os.PathLike[str], background: int = 255, max_pixels: int = MAX_PIXELS,
             reduction: Reduction | None = None) -> Image.Image:
    """Reads an image file as :func:`read_rgb` does, into an image of Pillow, a JPEG smaller if that is enough.

    Args:
        path (str | PathLike): As for :func:`read_rgb`.
        background (int): As for :func:`read_rgb`.
        max_pixels (int): As for :func:`read_rgb`.
        reduction (Callable, optional): Of the height and width of the image: how many times smaller it may be, 1, 2, 4
            or 8. It is asked about JPEGs that are stored upright only, which are decoded faster then; both sides are
            rounded up. Defaults to None, as large as it is.

    Raises:
        InputError: If the image cannot be decoded.
    """
    try:
        return _read(os.fspath(path), background, max_pixels, reduction)
    # The decoders of Pillow raise nearly anything on damaged files, SyntaxError and IndexError included.
    except Exception as error:
        reason = 'not an image in a known format'
        if not isinstance(error, UnidentifiedImageError):
            reason = ' '.join(str(getattr(error, 'strerror', None) or error or type(error).__name__).split())
        raise InputError(
            f"image {os.fspath(path)} cannot be decoded ({reason}): remove it, or go on without such images with "
            f"--on-error skip (on_error='skip' in a config)") from error
