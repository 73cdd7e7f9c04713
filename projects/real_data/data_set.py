"""What a data set that can be prepared consists of, and those of pictures: squared, a folder a class or all in one."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdr_mm.cli import progress
from sdr_mm.errors import InputError

from .packages import Package

Archives = Mapping[Package, Path]
"""The fetched file of each package."""

KINDS = {'pool': 'families', 'task': 'classes', 'detection': 'splits'}
"""What a data set may be, and by what its images are counted."""


@dataclass(frozen=True)
class Options:
    """What can be chosen about the prepared images.

    Attributes:
        size (int): Width and height of the images in pixels. Defaults to 64.
        skin_tones (bool): Whether the pool holds the skin-tone variants too, which are about half of
            two of its families and near-duplicates of the rest. Defaults to False.
        max_per_class (int | None): At most so many images a class of a task, spread evenly over
            those there are. Defaults to None, all.
    """

    size: int = 64
    skin_tones: bool = False
    max_per_class: int | None = None

    def __post_init__(self) -> None:
        if self.size < 8:
            raise InputError(f'the size of the images is {self.size}: give at least 8 pixels')
        if self.max_per_class is not None and self.max_per_class < 1:
            raise InputError(f'max_per_class is {self.max_per_class}: give at least 1 image, or leave it out for all')


@dataclass(frozen=True)
class DataSet(ABC):
    """A data set that can be prepared.

    Attributes:
        packages (tuple[Package, ...]): What it is made of.
        about (str): What it is, in a few words.
    """

    packages: tuple[Package, ...]
    about: str

    @property
    @abstractmethod
    def kind(self) -> str:
        """``'pool'`` (images without labels), ``'task'`` (one folder a class) or ``'detection'``."""

    @abstractmethod
    def choices(self, options: Options) -> dict[str, Any]:
        """Those of the options that decide what the folder holds."""

    @abstractmethod
    def write(self, archives: Archives, folder: Path, options: Options) -> dict[str, int]:
        """Writes the data set into an empty folder.

        Args:
            archives (Mapping[Package, Path]): The file of each of :attr:`packages`.
            folder (Path): Where to write.
            options (Options): What was chosen.

        Returns:
            dict[str, int]: Number of images by class, family or split (see :data:`KINDS`).
        """


@dataclass(frozen=True)
class Picture:
    """An encoded picture and what it becomes.

    Attributes:
        group (str): Its class, or its family in the pool.
        name (str): Name of its file, without a suffix.
        data (bytes): The picture as it was found.
        unit (str): What it shares with those of its class that are pictures of the same thing; they
            get a folder of their own in that of the class. Defaults to ``''``, none.
        part (str): ``'train'``, ``'val'`` or ``'test'`` in a task that has a split of its own. Defaults to ``''``,
            it has none.
    """

    group: str
    name: str
    data: bytes
    unit: str = ''
    part: str = ''


@dataclass(frozen=True)
class PictureSet(DataSet):
    """A data set of square pictures.

    Attributes:
        pictures (Callable): Finds the pictures in the archives.
        labeled (bool): Whether it is a task, with a folder a class. Defaults to True.
    """

    pictures: Callable[[Archives, Options], list[Picture]]
    labeled: bool = True

    @property
    def kind(self) -> str:
        return 'task' if self.labeled else 'pool'

    def choices(self, options: Options) -> dict[str, Any]:
        return asdict(options)

    def write(self, archives: Archives, folder: Path, options: Options) -> dict[str, int]:
        pictures = self.pictures(archives, options)
        if self.labeled:
            pictures = _thin_out(pictures, options.max_per_class)
        places = [folder / picture.part / picture.group / picture.unit if self.labeled else folder
                  for picture in pictures]
        for place in dict.fromkeys(places):
            place.mkdir(parents=True, exist_ok=True)

        def write(picture: Picture, place: Path) -> None:
            image = to_square(decode(picture.data, options.size), options.size)
            image.save(place / f'{picture.name}.png', compress_level=1)

        # Threads are enough: decoding, resizing and encoding leave Python's lock to others.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as workers:
            for _ in progress(workers.map(write, pictures, places), total=len(pictures), desc=folder.name):
                pass
        return dict(sorted(Counter(picture.group for picture in pictures).items()))


def on_white(picture: Image.Image) -> Image.Image:
    """The picture in RGB, where it is transparent on white."""
    picture = picture.convert('RGBA')
    return Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture).convert('RGB')


def to_square(picture: Image.Image, size: int) -> Image.Image:
    """An RGB image of ``size`` × ``size`` with the whole picture on white, in its proportions."""
    # Colors first, size second: transparent pixels may hold any color, which must not bleed in.
    picture = on_white(picture)
    if max(picture.size) != size:
        scale = size / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new('RGB', (size, size), 'white')
    square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return square


def decode(data: bytes, size: int) -> Image.Image:
    """Opens an encoded picture; SVG is drawn ``size`` pixels wide."""
    if data.lstrip().startswith(b'<'):
        import resvg_py  # only what prepares OpenMoji needs it

        data = resvg_py.svg_to_bytes(svg_string=data.decode(), width=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(data))


def folder_name(label: str) -> str:
    """A class's name as that of a folder: ``Animals & Nature`` becomes ``animals_and_nature``."""
    return label.lower().replace('&', 'and').replace(' ', '_').replace('-', '_')


def _thin_out(pictures: list[Picture], limit: int | None) -> list[Picture]:
    """At most ``limit`` pictures a group, spread evenly over those there are."""
    if limit is None:
        return pictures
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    kept: list[Picture] = []
    for group in groups.values():
        number = min(limit, len(group))
        kept += [group[index * len(group) // number] for index in range(number)]
    return kept
