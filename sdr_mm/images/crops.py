"""Crops of an image: cut by Pillow, or to be cut later out of a JPEG that is not decoded yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .metadata import JPEG, TURNS, orientation, without_metadata
from .reading import open_rgb

FILTERS = dict(bilinear=Image.Resampling.BILINEAR, bicubic=Image.Resampling.BICUBIC)


class Box(NamedTuple):
    """A crop, in pixels of the image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class EncodedCrops:
    """A JPEG and the crops that are to be cut out of it.

    Args:
        path (str): Where it was read, for errors.
        data (np.ndarray): (bytes,) uint8, the file without metadata.
        boxes (Sequence[Box]): A crop for each view.
        size (int): Side of a crop in pixels after it is resized.
        interpolation (str): ``'bilinear'`` or ``'bicubic'``.
    """

    path: str
    data: np.ndarray
    boxes: Sequence[Box]
    size: int
    interpolation: str

    def decode(self) -> list[np.ndarray]:
        """The crops as Pillow makes them, each (size, size, 3) uint8, BGR.

        Raises:
            InputError: If the image cannot be decoded.
        """
        image = open_rgb(self.path)
        return [cut(image, box, self.size, self.interpolation) for box in self.boxes]


def cut(image: Image.Image, box: Box, size: int, interpolation: str, factor: int = 1) -> np.ndarray:
    """Resizes a crop of an image that was decoded ``factor`` times smaller, (size, size, 3) uint8, BGR."""
    left, top = box.left / factor, box.top / factor
    right, bottom = left + box.width / factor, top + box.height / factor
    # Cut out before, so that the filter takes nothing from outside of the crop.
    first_x, first_y = math.floor(left), math.floor(top)
    part = image.crop((first_x, first_y, math.ceil(right), math.ceil(bottom)))
    part = part.resize((size, size), FILTERS[interpolation],
                       (left - first_x, top - first_y, right - first_x, bottom - first_y))
    return np.asarray(part)[..., ::-1]


def plain_jpeg(path: str, max_pixels: int) -> tuple[np.ndarray, int, int] | None:
    """A JPEG of which every decoder makes the same image, nothing of which is decoded here.

    It is gray or YCbCr, upright, no larger than ``max_pixels``, and has its end.

    Returns:
        tuple: (bytes,) uint8, the file without metadata, and the height and width of the image in pixels; None for any
        other file, and for one that cannot be read.
    """
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            return None
        with open(path, 'rb') as file:
            start = file.read(len(JPEG))
            data = start + file.read() if start == JPEG else b''
        if not data.rstrip(b'\0').endswith(b'\xff\xd9'):
            return None
        with Image.open(BytesIO(data), formats=('JPEG', )) as image:
            gray_or_ycbcr = image.mode in ('L', 'RGB') and image.info.get('adobe_transform', 1) == 1
            if image.format != 'JPEG' or not gray_or_ycbcr or (orientation(image) or 1) in TURNS or \
                    image.width * image.height > max_pixels:
                return None
            return np.frombuffer(without_metadata(data), np.uint8), image.height, image.width
    except Exception:  # Pillow raises nearly anything; whoever decodes the file says what is wrong with it
        return None
