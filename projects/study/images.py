"""The mixed pool and the tasks: pictures of six domains, of which the pool has the training part of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from projects.real_data import prepare
from sdr_mm.evaluation import Split, Task, stratified_splits
from sdr_mm.files import atomic_write
from sdr_mm.images import ImageStore, find_images

TASKS = ('animal_silhouettes', 'fluent_category', 'fluent_fine', 'open_clip_art', 'sweet_home', 'wesnoth_race',
         'solar_cells')
# Domains of the pool. Fluent's emoji are those of the pool in another style, so the two tasks are not among them.
IN_POOL = ('animal_silhouettes', 'open_clip_art', 'sweet_home', 'wesnoth_race', 'solar_cells')
SIZE = 32
TEST_FRACTION = 0.4


@dataclass(frozen=True)
class StudyImages:
    """What the study trains and scores on.

    Attributes:
        root (Path): Folder of all images.
        list_file (Path): Those of the pool, one path below ``root`` a line.
        tasks (list[Task]): Images in memory, with two splits: the first one chooses a sub-net among training images,
            the second one scores it, on images that neither the pool nor the choice has seen.
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
    folders = prepare(out / 'images', names=['pool', *tasks]).folders
    root, read = out / 'images', []
    lines = [f'pool/{name}' for name in find_images(str(folders['pool']))]
    for name in tasks:
        task = Task.from_folder(folders[name], name=name)
        split = task.splits[0]
        # A task that is divided already chooses by its validation images.
        own = Split(*split.choosing()), Split(*split.scoring())
        choose, score = random_splits(task) if split.val is None else own
        if name in IN_POOL:
            lines += [str(Path(str(task.paths[number])).relative_to(root)) for number in score.train]
        store = ImageStore(task.paths, resize=SIZE, size=SIZE)
        images = list(store.get(store.read_all(f'reading {name}')))
        read.append(replace(task, paths=images, splits=[choose, score]))
    list_file = out / 'pool.txt'
    with atomic_write(list_file, overwrite=True) as temporary:
        temporary.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return StudyImages(root, list_file, read)


def random_splits(task: Task) -> tuple[Split, Split]:
    """Of a task without validation images: for choosing and for scoring, by class and whole groups."""
    score, = stratified_splits(task.labels, test_fraction=TEST_FRACTION, classes=task.classes, where=task.name,
                               groups=task.groups)
    inner, = stratified_splits(task.labels[score.train], test_fraction=0.25, seed=1, classes=task.classes,
                               where=task.name, groups=None if task.groups is None else task.groups[score.train])
    return Split(score.train[inner.train], score.train[inner.test]), score
