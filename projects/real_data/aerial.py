"""A detection task: trees in aerial photos, cut into tiles, in the format of PASCAL VOC."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from sdr_mm.cli import progress
from sdr_mm.errors import InputError

from .archives import read_members
from .data_set import Archives, DataSet, Options
from .packages import Package

DEEPFOREST = Package(
    'pypi', 'deepforest', '2.1.0',
    '8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54', 20.6,
    'MIT', 'DeepForest, Ben Weinstein and the Weecology lab; photos by the National Ecological Observatory Network')
FOLDER = 'deepforest/data/'
LABEL = 'Tree'
# The photos that have an annotation, and what their tiles are called. The first two are mosaics that lie 13 km apart
# in Yellowstone; the others are single tiles from Florida and California.
TEST, TRAIN = 'yell_541000', 'yell_528000'
PHOTOS = {
    '2019_YELL_2_541000_4977000_image_crop': TEST,
    '2019_YELL_2_528000_4978000_image_crop2': TRAIN,
    'OSBS_029': 'osbs_029',
    'SOAP_061': 'soap_061'}
TILE = 400
# What is left at the border of a mosaic is a tile too, unless it is narrower.
SMALLEST = 100
# The tiles of the mosaic for training that lie below are for validation.
VAL_FROM = 1600
# Of the JPEG files.
QUALITY = 95


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
            inside = [Box(box.left - left, box.top - top, box.right - left, box.bottom - top) for box in boxes
                      if left <= box.left and box.right <= right and top <= box.top and box.bottom <= bottom]
            if inside:
                yield left, top, image.crop((left, top, right, bottom)), inside


def split_of(photo: str, top: int) -> str:
    """``'train'``, ``'val'`` or ``'test'``, by the photo and the tile's top in it."""
    if photo == TEST:
        return 'test'
    return 'val' if photo == TRAIN and top >= VAL_FROM else 'train'


@dataclass(frozen=True)
class Box:
    """A box in pixels from the top left corner; ``right`` and ``bottom`` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def read_boxes(annotation: bytes, size: tuple[int, int], where: str) -> list[Box]:
    """Reads the boxes of an annotation whose coordinates count from 0.

    Args:
        annotation (bytes): The XML.
        size (tuple[int, int]): Width and height of the image in pixels.
        where (str): What to call the annotation in errors.

    Returns:
        list[Box]: The boxes, whatever their class.

    Raises:
        InputError: If it is no such XML, or a box is empty or leaves the image.
    """
    try:
        objects = ElementTree.fromstring(annotation).findall('object')
        corners = [[int(float(entry.findtext(f'bndbox/{side}', ''))) for side in ('xmin', 'ymin', 'xmax', 'ymax')]
                   for entry in objects]
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f'{where} is not an annotation with boxes ({error}): do not use this file') from error
    for left, top, right, bottom in corners:
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            raise InputError(f'{where} has the box ({left}, {top}, {right}, {bottom}), which is empty or leaves the '
                             f'image of {size[0]} × {size[1]} pixels: do not use this file')
    return [Box(*box) for box in corners]


class VocWriter:
    """Writes images with boxes of one class into a folder, and the lists of its splits at the end.

    Images are JPEG of the highest usual quality (95, colors in full resolution), because MMDetection's
    ``XMLDataset`` looks for ``JPEGImages/NAME.jpg`` and for nothing else.

    Args:
        folder (Path): The folder, which gets ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.
        label (str): Name of the class.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label
        self.splits: dict[str, list[str]] = {'train': [], 'val': [], 'test': []}
        for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
            (folder / name).mkdir(parents=True)

    def add(self, split: str, name: str, image: Image.Image, boxes: Iterable[Box]) -> None:
        """Writes an image and its annotation."""
        image.save(self.folder / 'JPEGImages' / f'{name}.jpg', quality=QUALITY, subsampling=0)
        root = ElementTree.Element('annotation')
        _texts(root, folder=self.folder.name, filename=f'{name}.jpg')
        _texts(ElementTree.SubElement(root, 'size'), width=image.width, height=image.height, depth=3)
        _texts(root, segmented=0)
        for box in boxes:
            entry = ElementTree.SubElement(root, 'object')
            _texts(entry, name=self.label, pose='Unspecified', truncated=0, difficult=0)
            # VOC counts pixels from 1 and includes the last one.
            _texts(ElementTree.SubElement(entry, 'bndbox'), xmin=box.left + 1, ymin=box.top + 1, xmax=box.right,
                   ymax=box.bottom)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(self.folder / 'Annotations' / f'{name}.xml', encoding='unicode')
        self.splits[split].append(name)

    def close(self) -> dict[str, int]:
        """Writes the lists of images, ``trainval`` among them, and returns how many each split has."""
        lists = self.splits | {'trainval': self.splits['train'] + self.splits['val']}
        for split, names in lists.items():
            path = self.folder / 'ImageSets' / 'Main' / f'{split}.txt'
            path.write_text(''.join(f'{name}\n' for name in sorted(names)), encoding='utf-8')
        return {split: len(names) for split, names in self.splits.items()}


def _texts(parent: ElementTree.Element, **texts: object) -> None:
    """Adds a child with a text for each keyword."""
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)
