"""Small folders of VOC format for the tests of detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

COLORS = {'red': (220, 30, 30), 'blue': (30, 30, 220)}


class Square(NamedTuple):
    """A colored square, by VOC's count: pixels from 1, the last one inside."""

    name: str
    box: tuple[int, int, int, int]
    difficult: int = 0


def write_image(folder: Path, name: str, squares: Sequence[Square], size: int = 64, suffix: str = '.jpg') -> None:
    """Writes a picture of ``squares`` on noise, and its annotation."""
    for part in ('JPEGImages', 'Annotations'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(90, 160, (size, size, 3), dtype=np.uint8)
    root = ElementTree.Element('annotation')
    ElementTree.SubElement(root, 'filename').text = name + suffix
    sizes = ElementTree.SubElement(root, 'size')
    for side in ('width', 'height'):
        ElementTree.SubElement(sizes, side).text = str(size)
    for square in squares:
        left, top, right, bottom = square.box
        pixels[top - 1:bottom, left - 1:right] = COLORS.get(square.name, 0)
        entry = ElementTree.SubElement(root, 'object')
        ElementTree.SubElement(entry, 'name').text = square.name
        ElementTree.SubElement(entry, 'difficult').text = str(square.difficult)
        box = ElementTree.SubElement(entry, 'bndbox')
        for side, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), square.box):
            ElementTree.SubElement(box, side).text = str(value)
    Image.fromarray(pixels).save(folder / 'JPEGImages' / f'{name}{suffix}')
    ElementTree.ElementTree(root).write(folder / 'Annotations' / f'{name}.xml')


def write_lists(folder: Path, **splits: Sequence[str]) -> None:
    """Writes the list of images of each split."""
    lists = folder / 'ImageSets' / 'Main'
    lists.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))


def voc_folder(folder: Path) -> Path:
    """Six images for training and two for test, each with a red and a blue square."""
    names = [f'img{number}' for number in range(8)]
    for number, name in enumerate(names):
        shift = 3 * number
        write_image(folder, name, [
            Square('red', (1 + shift, 5, 20 + shift, 24)),
            Square('blue', (30 - shift // 2, 35, 50 - shift // 2, 60)),
        ])
    write_lists(folder, trainval=names[:6], test=names[6:])
    return folder
