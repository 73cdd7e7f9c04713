"""A detection task: trees in aerial photos, cut into tiles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdr_mm.cli import progress

from .archives import read_members
from .data_set import Archives, DataSet, Options
from .packages import Package
from .voc import Box, VocWriter, read_boxes

DEEPFOREST = Package(
    'pypi', 'deepforest', '2.1.0',
    '8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54', 20.6,
    'MIT', 'DeepForest, Ben Weinstein and the Weecology lab; photos by the National Ecological Observatory Network',
)
FOLDER = 'deepforest/data/'
LABEL = 'Tree'
# The photos that have an annotation, and what their tiles are called. The first two are mosaics that lie 13 km apart
# in Yellowstone; the others are single tiles from Florida and California.
TEST, TRAIN = 'yell_541000', 'yell_528000'
PHOTOS = {
    '2019_YELL_2_541000_4977000_image_crop': TEST,
    '2019_YELL_2_528000_4978000_image_crop2': TRAIN,
    'OSBS_029': 'osbs_029',
    'SOAP_061': 'soap_061',
}
TILE = 400
# What is left at the border of a mosaic is a tile too, unless it is narrower.
SMALLEST = 100
# The tiles of the mosaic for training that lie below are for validation.
VAL_FROM = 1600


@dataclass(frozen=True)
class AerialTrees(DataSet):
    """Tiles with whole boxes of trees in VOC format, the test set from a mosaic of its own."""

    @property
    def kind(self) -> str:
        return 'detection'

    def choices(self, options: Options) -> dict[str, Any]:
        return {}

    def write(self, archives: Archives, folder: Path, options: Options) -> dict[str, int]:
        names = {f'{FOLDER}{stem}{suffix}' for stem in PHOTOS for suffix in ('.png', '.xml')}
        found = dict(read_members(archives[DEEPFOREST], names.__contains__))
        writer = VocWriter(folder, LABEL)
        for stem, photo in progress(PHOTOS.items(), total=len(PHOTOS), desc=folder.name):
            with Image.open(io.BytesIO(found[f'{FOLDER}{stem}.png'])) as image:
                boxes = read_boxes(found[f'{FOLDER}{stem}.xml'], image.size, f'{stem}.xml of {DEEPFOREST}')
                for left, top, tile, inside in tiles(image.convert('RGB'), boxes):
                    writer.add(split_of(photo, top), f'{photo}_x{left:04d}_y{top:04d}', tile, inside)
        return writer.close()


def tiles(image: Image.Image, boxes: list[Box]) -> Iterator[tuple[int, int, Image.Image, list[Box]]]:
    """Cuts a photo into tiles that lie side by side.

    A box that a border of tiles cuts is in none of them, and a tile without a box is left out.

    Yields:
        tuple[int, int, Image.Image, list[Box]]: Left and top of the tile in the photo, the tile (at
        most :data:`TILE` pixels wide and high), and its boxes in its own pixels.
    """
    for top in range(0, image.height - SMALLEST + 1, TILE):
        for left in range(0, image.width - SMALLEST + 1, TILE):
            right, bottom = min(left + TILE, image.width), min(top + TILE, image.height)
            inside = [
                Box(box.left - left, box.top - top, box.right - left, box.bottom - top)
                for box in boxes
                if left <= box.left and box.right <= right and top <= box.top and box.bottom <= bottom
            ]
            if inside:
                yield left, top, image.crop((left, top, right, bottom)), inside


def split_of(photo: str, top: int) -> str:
    """``'train'``, ``'val'`` or ``'test'``, by the photo and the tile's top in it."""
    if photo == TEST:
        return 'test'
    return 'val' if photo == TRAIN and top >= VAL_FROM else 'train'
