"""A downstream task: a folder of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Union

import numpy as np

from ..datasets.image_folder import find_images
from ..errors import InputError

PARTS = ('train', 'val', 'test')


@dataclass(frozen=True, eq=False)
class Split:
    """Which images of a task train a classifier and which test it.

    Args:
        train (np.ndarray): (n,) numbers of images.
        test (np.ndarray): (m,) numbers of images, none of them in ``train``.
    """

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled images, each listed once, and the splits of them.

    Args:
        name (str): For tables and pictures.
        classes (list[str]): Names of the classes.
        paths (list[Path]): The images.
        labels (np.ndarray): (n,) int64, the class of each.
        splits (list[Split]): At least one.
    """

    name: str
    classes: list[str]
    paths: list[Path]
    labels: np.ndarray
    splits: list[Split]

    @classmethod
    def from_folder(cls,
                    folder: Union[str, Path],
                    *,
                    name: Optional[str] = None,
                    splits: int = 1,
                    test_fraction: float = 0.3,
                    held_out: Sequence[str] = ('val', 'test'),
                    seed: int = 0) -> Task:
        """Reads a task from a folder.

        Two layouts are known: ``train/CLASS/…`` with ``val/CLASS/…`` or ``test/CLASS/…`` beside it is
        one split as it is; ``CLASS/…`` is split at random within each class.

        Args:
            folder (str | Path): The folder. Images lie at any depth below their class.
            name (str, optional): Defaults to None, the name of the folder.
            splits (int): Random splits, for the second layout. Defaults to 1.
            test_fraction (float): Part of each class that tests in a random split. Defaults to 0.3.
            held_out (Sequence[str]): Which of the folders beside ``train`` tests, the first that is
                there. Routing leaves ``test`` alone where there is a ``val``. Defaults to
                ``('val', 'test')``.
            seed (int): Seed of the random splits. Defaults to 0.

        Raises:
            InputError: If the folder is missing, has no images, has one class, or a class has too few
                images to be in both parts.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise InputError(f'there is no folder {folder}: give a folder with one subfolder of images for each class')
        if (folder / 'train').is_dir():
            test = next((part for part in held_out if (folder / part).is_dir()), None)
            if test is None:
                raise InputError(f'{folder} has train/ but neither of {"/, ".join(held_out)}/ beside it: add one, '
                                 f'or put the classes directly into the folder to have them split')
            if splits != 1:
                raise InputError(f'{folder} comes with its own split (train/ and {test}/), so --splits {splits} cannot '
                                 f'be: leave it out, or put the classes directly into the folder')
            listed = {part: _list(folder / part) for part in ('train', test)}
            classes = sorted(listed['train'])
            strange = sorted(set(listed[test]) - set(classes))
            if strange:
                raise InputError(f'{folder}: class {strange[0]!r} of {test}/ has no images in train/: '
                                 f'the classes of both must be the same')
        else:
            listed = {'': _list(folder)}
            classes = sorted(listed[''])
        if len(classes) < 2:
            raise InputError(f'{folder} has {len(classes)} class(es) with images, a task needs two or more: '
                             f'give a folder with one subfolder of images for each class')
        rows = [(path, label, part) for part, images in listed.items() for label, title in enumerate(classes)
                for path in images.get(title, [])]
        labels = np.array([label for _, label, _ in rows], dtype=np.int64)
        parts = np.array([part for *_, part in rows])
        if '' in listed:
            chosen = stratified_splits(labels, splits=splits, test_fraction=test_fraction, seed=seed, classes=classes,
                                       where=str(folder))
        else:
            chosen = [Split(np.flatnonzero(parts == 'train'), np.flatnonzero(parts != 'train'))]
        return cls(name or folder.resolve().name, classes, [path for path, *_ in rows], labels, chosen)

    def without(self, unreadable: Sequence[int]) -> Task:
        """The task without some images, in all its splits.

        Raises:
            InputError: If a part loses a class that it had, or all images.
        """
        kept = np.ones(len(self.paths), dtype=bool)
        kept[list(unreadable)] = False
        number = np.cumsum(kept) - 1
        labels = self.labels
        splits = []
        for split in self.splits:
            both = [part[kept[part]] for part in (split.train, split.test)]
            for part, rest in zip((split.train, split.test), both):
                lost = sorted(set(labels[part].tolist()) - set(labels[rest].tolist()))
                if lost:
                    raise InputError(f'task {self.name}: no readable image of class {self.classes[lost[0]]!r} is left '
                                     f'in one part of the split: replace the damaged images')
            splits.append(Split(*(number[part] for part in both)))
        paths = [path for path, keep in zip(self.paths, kept) if keep]
        return replace(self, paths=paths, labels=labels[kept], splits=splits)

    @property
    def train_images(self) -> np.ndarray:
        """Numbers of the images that train in at least one split, ascending."""
        return np.unique(np.concatenate([split.train for split in self.splits]))


def stratified_splits(labels: np.ndarray,
                      *,
                      splits: int = 1,
                      test_fraction: float = 0.3,
                      seed: int = 0,
                      classes: Optional[Sequence[str]] = None,
                      where: str = 'the task') -> list[Split]:
    """Random splits in which every class is in both parts.

    Args:
        labels (np.ndarray): (n,) class numbers.
        splits (int): How many. Split ``i`` is the same whatever their number. Defaults to 1.
        test_fraction (float): Part of each class that tests, rounded, but at least one image and not
            all. Defaults to 0.3.
        seed (int): Defaults to 0.
        classes (Sequence[str], optional): Names, for messages. Defaults to None, the numbers.
        where (str): For messages.

    Raises:
        InputError: If a class has one image only, or an option is out of range.
    """
    if splits < 1 or not 0 < test_fraction < 1:
        raise InputError(f'need splits >= 1 and 0 < test_fraction < 1, got {splits} and {test_fraction}')
    result = []
    for number in range(splits):
        random = np.random.default_rng([seed, number])
        train, test = [], []
        for label in np.unique(labels):
            images = np.flatnonzero(labels == label)
            if len(images) < 2:
                title = classes[label] if classes is not None else label
                raise InputError(f'{where}: class {title!r} has one image, a split needs two or more: '
                                 f'add images or remove the class')
            random.shuffle(images)
            held_out = min(max(1, round(test_fraction * len(images))), len(images) - 1)
            test.append(images[:held_out])
            train.append(images[held_out:])
        result.append(Split(np.sort(np.concatenate(train)), np.sort(np.concatenate(test))))
    return result


def _list(folder: Path) -> dict[str, list[Path]]:
    """Images by class; folders without images are no classes."""
    found = {
        child.name: [child / name for name in find_images(str(child))]
        for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith('.')
    }
    found = {name: images for name, images in found.items() if images}
    if not found:
        raise InputError(f'{folder} has no images in subfolders: give a folder with one subfolder of images for each '
                         f'class')
    return found
