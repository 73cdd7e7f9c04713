"""A downstream task: labeled images and the splits of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..images import ImageSource, find_images
from ..images.listing import EXTENSIONS, list_images, look_into, report_left_out, shortened
from .metrics import METRICS

SPLIT_NAMES = dict(train=('train', 'training'), val=('val', 'valid', 'validation', 'dev'),
                   test=('test', 'testing', 'eval', 'evaluation'))
"""Names of the folders that hold the parts of a split, those of Hugging Face's ``ImageFolder``. Any case will do, and
``set``, ``data`` or ``images`` may follow: ``Training_Set``."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which images of a task, by their numbers, train a classifier and which test it; none does both.

    Args:
        train (np.ndarray): (n,) int64.
        test (np.ndarray): (m,) int64.
        val (np.ndarray, optional): (v,) int64, in neither, by which choices are made. Defaults to None.
    """

    train: np.ndarray
    test: np.ndarray
    val: np.ndarray | None = None

    def choosing(self) -> tuple[np.ndarray, np.ndarray]:
        """What routing and other choices may look at: ``train`` and, held out, ``val``, or else ``test``."""
        return self.train, self.test if self.val is None else self.val

    def scoring(self) -> tuple[np.ndarray, np.ndarray]:
        """What the final score is made from: ``train`` with ``val``, ascending, and ``test``."""
        train = self.train if self.val is None else np.sort(np.concatenate((self.train, self.val)))
        return train, self.test


@dataclass(frozen=True, eq=False)
class Task:
    """Labeled images and the splits of them.

    Args:
        name (str): For tables and pictures.
        classes (list[str]): Names of the classes; none if there are no labels.
        paths (Sequence[ImageSource]): The images: files, or arrays ``(H, W, 3)``, uint8, RGB.
        labels (np.ndarray): (n,) int64, the class of each; or (n, classes) uint8 of 0 and 1 where an image has several.
            Other whole numbers are converted.
        splits (list[Split]): At least one, unless there are no labels.
        metric (str): Key of :data:`METRICS`; ``'map_11'`` goes with several labels each. Defaults to 'accuracy'.
        groups (np.ndarray, optional): (n,) int64. Images of the same group show the same thing and stay
            on one side of a split. Defaults to None, each on its own.

    Raises:
        InputError: If there is no such metric, or it does not fit the labels, or these or the splits not the images.
    """

    name: str
    classes: list[str]
    paths: Sequence[ImageSource]
    labels: np.ndarray
    splits: list[Split]
    metric: str = 'accuracy'
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        count, labels = len(self.paths), np.asarray(self.labels)
        expected = [(count, ), (count, len(self.classes))]
        if labels.dtype.kind not in 'biu' or labels.shape not in expected:
            raise InputError(f'task {self.name}: labels are whole numbers, one for each of its {count} images, or a '
                             f'row of {len(self.classes)}, got {labels.dtype} of shape {labels.shape}')
        above = len(self.classes) if labels.ndim == 1 else 2
        if self.classes and labels.size and not 0 <= labels.min() <= labels.max() < above:
            raise InputError(f'task {self.name}: labels are from 0 to {above - 1}, got {labels.min()} to '
                             f'{labels.max()}')
        object.__setattr__(self, 'labels', labels.astype(np.int64 if labels.ndim == 1 else np.uint8, copy=False))
        for split in self.splits:
            used = np.concatenate([split.train, split.test, *(() if split.val is None else (split.val, ))])
            if used.dtype.kind not in 'iu' or (used.size and not 0 <= used.min() <= used.max() < count):
                raise InputError(f'task {self.name}: a split has numbers of images, from 0 to {count - 1}, got '
                                 f'{used.dtype} from {used.min()} to {used.max()}')
        if self.metric not in METRICS:
            raise InputError(f'task {self.name}: the metric is one of {", ".join(METRICS)}, got {self.metric!r}')
        if self.multi_label != (self.metric == 'map_11'):
            how = "several labels, so its metric is 'map_11'" if self.multi_label else (
                "one label, so its metric is 'accuracy' or 'mean_per_class'")
            raise InputError(f'task {self.name}: each image has {how}, not {self.metric!r}')

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def train_images(self) -> np.ndarray:
        """Numbers of the images that train in at least one split, ascending."""
        return np.unique(np.concatenate([split.train for split in self.splits]))

    @classmethod
    def from_folder(cls, folder: str | Path, *, name: str | None = None, splits: int = 1, test_fraction: float = 0.3,
                    seed: int = 0) -> Task:
        """Reads a task from a folder.

        Two layouts are known:

        - ``train/CLASS/…`` with ``test/CLASS/…`` or ``val/CLASS/…`` or both beside it is one split as it
          is. Where only one of them is there, it tests. Other names of these folders are :data:`SPLIT_NAMES`.
        - ``CLASS/…`` is split at random within each class (:func:`stratified_splits`). The images of one sub-folder
          of a class, ``CLASS/GROUP/…``, stay on one side, because they show the same thing: frames of one unit,
          photos of one object. An image directly in ``CLASS/`` is a group of its own, and a class that
          has all its images in one sub-folder (``CLASS/images/…``) is split image by image.

        What is no image, and images outside of a class, are counted and named on stderr.

        Args:
            folder (str | Path): Images lie at any depth below their class.
            name (str, optional): Defaults to None, the name of the folder.
            splits (int): Random splits, for the second layout. Defaults to 1.
            test_fraction (float): Part of each class that tests in a random split. Defaults to 0.3.
            seed (int): Of the random splits. Defaults to 0.

        Raises:
            InputError: If the folder is missing or cannot be read, or has one class, or a class too few images or none
                in a format that is known, or if it could be of either layout.
        """
        folder = Path(folder).expanduser()
        if not os.path.isdir(folder):
            raise InputError(f'there is no folder {folder}: give a folder with one subfolder of images for each class')
        folders, outside = _look_into(folder)
        parts = _parts(folder, folders)
        if parts and splits != 1:
            raise InputError(f'{folder} comes with its own split ({_all(parts.values())}), so --splits '
                             f'{splits} cannot be: leave it out, or put the classes directly into the folder')
        left_out: list[str] = []
        if parts:
            left_out += [*outside, *(f'{name}/' for name in folders if name not in parts.values())]
        listed = {part: _list(folder, parts.get(part, ''), left_out) for part in parts or ['train']}
        report_left_out(folder, left_out)
        classes = sorted(listed['train'])
        for part in parts:
            if strange := sorted(set(listed[part]) - set(classes)):
                raise InputError(f'{folder}: class {strange[0]!r} of {parts[part]}/ has no images in '
                                 f'{parts["train"]}/: the classes of both must be the same')
        found = [(part, label, image) for part, images in listed.items() for label, title in enumerate(classes)
                 for image in images.get(title, [])]
        paths = [folder / parts.get(part, '') / classes[label] / image for part, label, image in found]
        labels = np.array([label for _, label, _ in found], dtype=np.int64)
        check_classes(labels, classes, labels, str(folder))
        groups = None
        if parts:
            of = np.array([part for part, *_ in found])
            train, *val, test = (np.flatnonzero(of == part) for part in parts)
            chosen = [Split(train, test, val[0] if val else None)]
        else:
            first: dict[tuple[int, str], int] = {}
            groups = np.array([first.setdefault((label, image.split('/')[0]), number)
                               for number, (_, label, image) in enumerate(found)])
            chosen = stratified_splits(labels, splits=splits, test_fraction=test_fraction, seed=seed, classes=classes,
                                       where=str(folder), groups=groups)
        return cls(name or folder.resolve().name, classes, paths, labels, chosen, groups=groups)

    @classmethod
    def unlabeled(cls, folder: str | Path) -> Task:
        """All images of a folder, at any depth, without classes and splits; an InputError if there are none."""
        folder = Path(folder).expanduser()
        if not os.path.isdir(folder):
            raise InputError(f'there is no folder {folder}: give a folder of images')
        if not (paths := [folder / name for name in find_images(str(folder))]):
            raise InputError(f'{folder} has no images: give a folder of images')
        return cls(folder.resolve().name, [], paths, np.zeros(len(paths), dtype=np.int64), [])

    def without(self, unreadable: Sequence[int]) -> Task:
        """The task without some images; an InputError if a part of a split loses a class that it had, or all images."""
        kept = np.ones(len(self.paths), dtype=bool)
        kept[list(unreadable)] = False
        number = np.cumsum(kept) - 1

        def rest(part: np.ndarray) -> np.ndarray:
            readable = part[kept[part]]
            lost = sorted(_occurring(self.labels[part]) - _occurring(self.labels[readable]))
            if lost or not len(readable):
                what = f' of class {self.classes[lost[0]]!r}' if lost else ''
                raise InputError(f'task {self.name}: no readable image{what} is left in one part of the split: replace '
                                 'the damaged images')
            return np.asarray(number[readable])

        splits = [Split(rest(split.train), rest(split.test), None if split.val is None else rest(split.val))
                  for split in self.splits]
        paths = [path for path, keep in zip(self.paths, kept) if keep]
        groups = None if self.groups is None else self.groups[kept]
        return replace(self, paths=paths, labels=self.labels[kept], splits=splits, groups=groups)


def check_classes(labels: np.ndarray, classes: Sequence[str], train_labels: np.ndarray, where: str) -> None:
    """Refuses a task with one class, or a class without an image in ``train`` and ``val``, or with one in all."""
    if len(classes) < 2:
        raise InputError(f'{where} has {len(classes)} class(es) with images, a task needs two or more: '
                         f'give one subfolder of images, or one label, for each class')
    if missing := sorted(set(range(len(classes))) - _occurring(train_labels)):
        raise InputError(f'{where}: class {classes[missing[0]]!r} has no image to train on: '
                         f'add images or remove the class')
    counts = np.bincount(labels, minlength=len(classes)) if labels.ndim == 1 else labels.sum(0, dtype=np.int64)
    if counts.min() < 2:
        raise InputError(f'{where}: class {classes[int(counts.argmin())]!r} has one image, a split needs two or more: '
                         f'add images or remove the class')


def hold_out(images: np.ndarray, fraction: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Takes validation images out of the training images as ssl-transfer does (``linear.py``).

    They are the first ``floor(fraction · n)`` of NumPy's legacy permutation with seed 0, whatever their
    classes. So the same images are held out as in the published results, if ``images`` are in the order
    of the official list. Returns the remaining and the held-out ones, both in this order.
    """
    order = np.random.RandomState(0).permutation(len(images))
    count = int(np.floor(fraction * len(images)))
    return images[np.sort(order[count:])], images[np.sort(order[:count])]


def stratified_splits(labels: np.ndarray, *, splits: int = 1, test_fraction: float = 0.3, seed: int = 0,
                      classes: Sequence[str] | None = None, where: str = 'the task',
                      groups: np.ndarray | None = None) -> list[Split]:
    """Random splits in which every class is in both parts.

    Args:
        labels (np.ndarray): (n,) class numbers.
        splits (int): How many. Split ``i`` is the same whatever their number. Defaults to 1.
        test_fraction (float): Part of each class that tests, rounded, or as near to it as whole groups in random
            order come; at least one image or group, and not all. Defaults to 0.3.
        seed (int): Defaults to 0.
        classes (Sequence[str], optional): Names, for messages. Defaults to None, the numbers.
        where (str): For messages.
        groups (np.ndarray, optional): (n,) numbers; images of a class with the same one stay together,
            unless the whole class is one group. Defaults to None, each image on its own.

    Raises:
        InputError: If a class has one image only, or an option is out of range.
    """
    if splits < 1 or not 0 < test_fraction < 1:
        raise InputError(f'need splits >= 1 and 0 < test_fraction < 1, got {splits} and {test_fraction}')
    result = []
    for number in range(splits):
        random = np.random.default_rng([seed, number])
        tests = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            images = np.flatnonzero(labels == label)
            if len(images) < 2:
                title = classes[label] if classes is not None else label
                raise InputError(f'{where}: class {title!r} has one image, a split needs two or more: '
                                 f'add images or remove the class')
            tests[images] = _draw(np.arange(len(images)) if groups is None else groups[images], test_fraction, random)
        result.append(Split(np.flatnonzero(~tests), np.flatnonzero(tests)))
    return result


def _draw(groups: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Which images of one class test: whole groups, in random order, about ``fraction`` of the images."""
    _, units, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        units, sizes = np.arange(len(groups)), np.ones(len(groups), dtype=int)
    order = np.arange(len(sizes))
    random.shuffle(order)
    target = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    chosen: list[int] = []
    count = 0
    for unit in order.tolist():
        if len(chosen) < len(sizes) - 1 and abs(count + sizes[unit] - target) < abs(count - target):
            chosen.append(unit)
            count += sizes[unit]
    # Where every group is more than twice the part that is asked for, nothing is chosen yet.
    return np.isin(units, chosen or [order[sizes[order].argmin()]])


def _occurring(labels: np.ndarray) -> set[int]:
    """Classes that at least one image has."""
    return set((np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(0))).tolist())


def _part_of(name: str) -> str | None:
    """Which part of a split a folder of this name holds, if any."""
    plain = re.sub('[-_ ]?(set|data|images)$', '', name.lower())
    return next((part for part, names in SPLIT_NAMES.items() if plain in names), None)


def _parts(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Which sub-folder holds which part of an official split, in the order train, val, test; none if there is no split.

    Raises:
        InputError: If the names leave open whether there is one.
    """
    found = {part: [name for name in names if _part_of(name) == part] for part in SPLIT_NAMES}
    if not (known := [name for name in names if _part_of(name)]):
        return {}
    for part, same in found.items():
        if len(same) > 1:
            raise InputError(f'{folder} has {same[0]}/ and {same[1]}/, which both name the {part} part of a split: put '
                             f'them together, or rename them if they are classes')
    has = f'{folder} has {_all(known)}, named like a part of a split'
    if others := [name for name in names if name not in known and list_images(str(folder / name))[0]]:
        raise InputError(f'{has}, and beside it {others[0]}/ with images: rename {known[0]}/ if it is a class too, for '
                         f'example to {known[0]}_class/, or else move {others[0]}/ out of the folder')
    if not found['train']:
        raise InputError(f'{has}, but no train/: add it, or rename {known[0]}/ if it is a class')
    if len(known) == 1:
        raise InputError(f'{folder} has {known[0]}/ but neither of test/, val/ beside it: add one, '
                         'or put the classes directly into the folder to have them split')
    return {part: same[0] for part, same in found.items() if same}


def _look_into(folder: Path) -> tuple[list[str], list[str]]:
    """The sub-folders of a folder, and what else lies in it; an InputError if one may be missing."""
    entries = look_into(str(folder))
    if broken := [name for name in entries.left_out if not os.path.exists(folder / name)]:
        raise InputError(f'the link {folder / broken[0]} leads nowhere: mend or remove it')
    return entries.folders, sorted(entries.images + entries.left_out)


def _all(folders: Iterable[str]) -> str:
    return ' and '.join(f'{name}/' for name in folders)


def _list(folder: Path, part: str, left_out: list[str]) -> dict[str, list[str]]:
    """Images by class, relative to it. What is left out is added to ``left_out``, relative to ``folder``.

    Raises:
        InputError: If a class would vanish, because all its files are of other kinds.
    """
    where, prefix = folder / part, f'{part}/' if part else ''
    titles, outside = _look_into(where)
    left_out += [prefix + name for name in outside]
    found: dict[str, list[str]] = {}
    for title in titles:
        images, others = list_images(str(where / title))
        if not images and (files := [name for name in others if not name.endswith('/')]):
            raise InputError(f'{where / title} has no image of a known format, but {shortened(files)}: convert them '
                             f'({" ".join(EXTENSIONS)}), or move the folder to another place if it is no class')
        sides = sorted({side for side in (image.split('/')[0] for image in images if '/' in image) if _part_of(side)})
        if len({_part_of(side) for side in sides}) > 1:
            raise InputError(f'{where / title} has {_all(sides)} below the class, which name parts of a split: turn it '
                             f'round, {sides[0]}/{title}/, or rename them if they are none')
        if images:
            found[title] = images
        left_out += [f'{prefix}{title}/{name}' for name in others] if images else [f'{prefix}{title}/']
    if not found:
        raise InputError(f'{where} has no images in subfolders: give a folder with one subfolder of images for each '
                         f'class')
    return found
