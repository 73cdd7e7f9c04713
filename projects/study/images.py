"""The mixed pool and the tasks of the study: pictures of six domains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from projects.real_data.mixed import in_memory, mixed_pool
from sdr_mm.evaluation import Task


@dataclass(frozen=True)
class StudyImages:
    """What the study trains and scores on.

    Attributes:
        root (Path): Folder of all images.
        list_file (Path): Those of the pool, one path below ``root`` a line.
        tasks (list[Task]): As :class:`~projects.real_data.mixed.MixedPool` has them, with images in memory.
    """

    root: Path
    list_file: Path
    tasks: list[Task]

    def of(self, domains: Collection[str]) -> list[str]:
        """Names of the images of the pool, in its order, that are in these folders below ``root``; of () all."""
        names = self.list_file.read_text(encoding='utf-8').splitlines()
        return [name for name in names if not domains or name.partition('/')[0] in domains]


def study_images(out: Path, tasks: Sequence[str]) -> StudyImages:
    """Fetches and divides the images; the same ones whenever it is called.

    Args:
        out (Path): Folder for the images and the list.
        tasks (Sequence[str]): Names of the tasks, as :mod:`projects.real_data` has them.
    """
    mixed = mixed_pool(tasks, out / 'images')
    mixed.write_list(out / 'pool.txt')
    return StudyImages(mixed.root, out / 'pool.txt', [in_memory(task) for task in mixed.tasks])
