"""A mixed pool: pictures of several domains without labels, and tasks on images that it does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sdr_mm.evaluation import Split, Task, stratified_splits
from sdr_mm.files import write_lines
from sdr_mm.images import ImageStore, find_images

from .preparation import prepare

# Fluent's emoji are those of the pool in another style, so the two tasks are not among them.
IN_POOL = ('animal_silhouettes', 'open_clip_art', 'sweet_home', 'wesnoth_race', 'solar_cells')
"""Tasks that are domains of the pool: it has their images that train, without the labels."""
TEST_FRACTION = 0.4
SIZE = 32


@dataclass(frozen=True)
class MixedPool:
    """A pool and its tasks.

    Attributes:
        root (Path): Folder of all images.
        names (list[str]): Those of the pool, below ``root``.
        tasks (list[Task]): Each with two splits: the first one chooses a sub-net among images that train, the second
            one scores it, on images that neither the pool nor the choice has seen.
    """

    root: Path
    names: list[str]
    tasks: list[Task]

    def write_list(self, file: Path) -> str:
        """Writes the names of the pool, one a line, and returns the absolute path of the file."""
        write_lines(file, self.names, overwrite=True)
        return str(file.resolve())


def mixed_pool(names: Iterable[str], out: Path | None = None, in_pool: Collection[str] = IN_POOL) -> MixedPool:
    """Fetches and divides the images; the same ones whenever it is called.

    Args:
        names (Iterable[str]): The tasks.
        out (Path, optional): Where the images are. Defaults to None: the cache of :func:`prepare`.
        in_pool (Collection[str]): Those of them that are domains of the pool, beside the emoji. Defaults to
            :data:`IN_POOL`.
    """
    names = list(names)
    folders = prepare(out, names=['pool', *names]).folders
    root = folders['pool'].parent
    listed, tasks = [f'pool/{name}' for name in find_images(str(folders['pool']))], []
    for name in names:
        task = choose_and_score(Task.from_folder(folders[name], name=name, test_fraction=TEST_FRACTION))
        if name in in_pool:
            listed += [Path(str(task.paths[number])).relative_to(root).as_posix()
                       for number in task.splits[1].train]
        tasks.append(task)
    return MixedPool(root, listed, tasks)


def choose_and_score(task: Task) -> Task:
    """The task with two splits in place of its first one: one that chooses a sub-net, and one that scores it.

    The first one looks at images that train in the second one alone: at the validation images of the task's own split,
    or, if it has none, at a quarter of them at random, by class and whole groups.
    """
    split = task.splits[0]
    score = Split(*split.scoring())
    if split.val is not None:
        return replace(task, splits=[Split(*split.choosing()), score])
    inner, = stratified_splits(task.labels[score.train], test_fraction=0.25, seed=1, classes=task.classes,
                               where=task.name, groups=None if task.groups is None else task.groups[score.train])
    return replace(task, splits=[Split(score.train[inner.train], score.train[inner.test]), score])


def in_memory(task: Task) -> Task:
    """The task with its readable images in memory, ``SIZE`` × ``SIZE``."""
    store = ImageStore(task.paths, resize=SIZE, size=SIZE, on_error='skip')
    images = store.get(store.read_all(f'reading {task.name}'))
    return replace(task.without(sorted(store.failed)), paths=list(images))
