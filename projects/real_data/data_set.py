"""What a data set that can be prepared consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
