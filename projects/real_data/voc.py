"""Detection data in the format of PASCAL VOC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from sdr_mm.errors import InputError

QUALITY = 95


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
        corners = [
            [int(float(entry.findtext(f'bndbox/{side}', ''))) for side in ('xmin', 'ymin', 'xmax', 'ymax')]
            for entry in objects
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f'{where} is not an annotation with boxes ({error}): do not use this file') from error
    for left, top, right, bottom in corners:
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            raise InputError(
                f'{where} has the box ({left}, {top}, {right}, {bottom}), which is empty or leaves the image of '
                f'{size[0]} × {size[1]} pixels: do not use this file'
            )
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
