"""The mixed pool and the tasks of the study: pictures of six domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from projects.real_data.mixed import in_memory, mixed_pool
from sdr_mm.evaluation import Task

TASKS = ('animal_silhouettes', 'fluent_category', 'fluent_fine', 'open_clip_art', 'sweet_home', 'wesnoth_race',
         'solar_cells')


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


def study_images(out: Path, tasks: Sequence[str] = TASKS) -> StudyImages:
    """Fetches and divides the images; the same ones whenever it is called.

    Args:
        out (Path): Folder for the images and the list.
        tasks (Sequence[str]): Which of :data:`TASKS`. Defaults to all.
    """
    mixed = mixed_pool(tasks, out / 'images')
    mixed.write_list(out / 'pool.txt')
    return StudyImages(mixed.root, out / 'pool.txt', [in_memory(task) for task in mixed.tasks])
