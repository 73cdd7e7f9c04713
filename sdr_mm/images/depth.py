"""Pixels of more than 8 bits, or of floating point, as 8 bits: by the range that is stored, or not at all."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

BITS = (8, 10, 12, 14, 16)
"""Usual depths of sensors. Files with 16 bits often hold values of fewer."""

_OTHER_BYTE = {'B': 'L', 'L': 'B', 'N': 'B' if sys.byteorder == 'little' else 'L'}


def gray_to_8_bits(image: Image.Image) -> np.ndarray:
    """Gray values of any type as 8 bits, (H, W) uint8.

    What is black and what is white is decided by

    1. the range that the file states (TIFF's sample values and bits, PGM's maximum), if all values lie in it;
    2. else, of integers, the fewest usual bits (:data:`BITS`) that hold all values: an image of a 12-bit sensor in a
       file of 16 bits is neither black nor flat. An image of 16 bits that is darker than a quarter of white gets
       brighter by that: state the range in the file, or store 8 bits, where this matters;
    3. else, of floating point, 0 and 1.

    Raises:
        ValueError: If the values fit none of these, or are not finite.
    """
    values = np.asarray(image)
    if image.mode == 'L':  # TIFF's signed bytes
        values = values.view(np.int8)
    low, high = values.min().item(), values.max().item()
    whole = values.dtype.kind in 'iu'
    stated = _stated_range(image)
    if stated is not None and stated[0] <= low and high <= stated[1]:
        first, last = stated
    elif whole and low >= 0 and high < 1 << BITS[-1]:
        first, last = 0, next((1 << bits) - 1 for bits in BITS if high < 1 << bits)
    elif not whole and low >= 0 and high <= 1:  # false for NaN
        first, last = 0, 1
    else:
        raise ValueError(f'its values go from {low:g} to {high:g} and the file does not say which are black and white, '
                         f'save it with 8 bits')
    if first == 0 and whole and last < 1 << BITS[-1]:
        result = (values.astype(np.uint32) * 255 // int(last)).astype(np.uint8)
    else:
        result = np.round((values.astype(np.float64) - first) * (255 / (last - first))).astype(np.uint8)
    # Pillow turns bytes for which 0 is white, but no other values.
    return 255 - result if _tag(image, 262) == 0 and image.mode != 'L' else result


def _stated_range(image: Image.Image) -> tuple[float, float] | None:
    """The values of black and white according to the file."""
    if image.format in ('PPM', 'JPEG2000') and image.mode != 'F':
        return 0, 65535  # Pillow has scaled them by what the file says
    for smallest, largest in ((340, 341), (280, 281)):
        last = _tag(image, largest)
        first = _tag(image, smallest)
        if isinstance(last, (int, float)) and np.isfinite(last):
            first = first if isinstance(first, (int, float)) else 0
            return (first, last) if first < last else None
    bits = _tag(image, 258)
    return (0, (1 << bits) - 1) if isinstance(bits, int) and 8 < bits < 16 else None


def _tag(image: Image.Image, number: int) -> Any:
    """A tag of a TIFF file; None without one."""
    try:
        value = getattr(image, 'tag_v2', {}).get(number)
    except Exception:  # Pillow raises nearly anything on damaged entries
        return None
    return value[0] if isinstance(value, tuple) and value else value


def is_wide(image: Image.Image) -> bool:
    """Whether gray values of an image are not plain bytes."""
    return image.mode.startswith(('I', 'F')) or image.mode == 'L' and _tag(image, 339) == 2


def raw_mode(image: Image.Image) -> str:
    """How the pixels are stored in the file, before they are loaded: ``'RGB;16B'``."""
    args: Any = image.tile[0][3] if isinstance(image, ImageFile) and image.tile else ''
    name = args[0] if isinstance(args, tuple) and args else args
    return name if isinstance(name, str) else ''


def use_low_bytes(image: ImageFile) -> None:
    """Makes Pillow load the low bytes of an image whose :func:`raw_mode` has 16 bits a color, not the high ones."""
    name = raw_mode(image)
    other = name[:-1] + _OTHER_BYTE[name[-1]]
    tiles: list[Any] = image.tile
    for number, tile in enumerate(tiles):
        args = (other, *tile[3][1:]) if isinstance(tile[3], tuple) else other
        # Before Pillow 11 they are plain tuples.
        tiles[number] = tile._replace(args=args) if hasattr(tile, '_replace') else (*tile[:3], args)


def colors_to_8_bits(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Colors (H, W, C) of 16 bits, given as their bytes, scaled as :func:`gray_to_8_bits` does; alpha by itself."""
    values: np.ndarray = high.astype(np.uint32) << 8 | low
    parts = [values[..., :3], values[..., 3:]]
    for part in parts:
        if part.size:
            last = next((1 << bits) - 1 for bits in BITS if part.max() < 1 << bits)
            part *= 255
            part //= last
    return values.astype(np.uint8)
