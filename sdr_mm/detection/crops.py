"""The images of a detection set as tasks of classification: whole, or cropped to their boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cli import progress
from ..errors import InputError
from ..evaluation.task import Task, stratified_splits
from ..images import read_rgb, resize_and_crop

BACKGROUND = 'background'
TRIES = 50
"""Places that are tried for a background crop of one object."""


def images_task(dataset: Any, name: str) -> Task:
    """The images of a detection set, whole and without labels.

    Args:
        dataset (BaseDataset): Of MMDetection.
        name (str): For tables.
    """
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    return Task(name, [], paths, np.zeros(len(paths), dtype=np.int64), [])


def crops_task(dataset: Any, name: str, *, resize: int = 256, size: int = 224, most: int = 100, smallest: int = 8,
               seed: int = 0) -> Task:
    """The objects of a detection set, cropped from the images, with their class as label.

    A crop is the square around a box, moved into the image where it leaves it. With one class only, crops
    of the same sizes and images that overlap no box are a second class, the background. Crops of one image
    that have the same class stay on one side of the split.

    Args:
        dataset (BaseDataset): Of MMDetection.
        name (str): For tables.
        resize (int): Short side of the crops in pixels, as for kNN. Defaults to 256.
        size (int): Side of their center that is kept. Defaults to 224.
        most (int): Most crops of a class; which ones is random. Defaults to 100.
        smallest (int): Boxes with a shorter longer side in pixels are left out. Defaults to 8.
        seed (int): Of the choice, the places of the background and the split. Defaults to 0.

    Returns:
        Task: Classes with fewer than two crops are left out.

    Raises:
        InputError: If fewer than two classes have two crops, or an image cannot be decoded.
    """
    classes = list(dataset.metainfo['classes'])
    random = np.random.default_rng(seed)
    objects = [(index, int(instance['bbox_label']), np.asarray(instance['bbox'], dtype=np.float64))
               for index in range(len(dataset)) for instance in dataset.get_data_info(index)['instances']
               if not instance.get('ignore_flag') and _longer_side(instance['bbox']) >= smallest]
    chosen = []
    for label in range(len(classes)):
        mine = [entry for entry in objects if entry[1] == label]
        chosen += [mine[number] for number in sorted(random.permutation(len(mine))[:most].tolist())]
    with_background = len(classes) == 1
    crops: list[np.ndarray] = []
    labels: list[int] = []
    groups: list[int] = []
    chosen.sort(key=lambda entry: entry[0])  # An image is decoded once.
    image, read = np.empty((0, 0, 3), np.uint8), -1
    for index, label, box in progress(chosen, len(chosen), f'cropping {name}'):
        info = dataset.get_data_info(index)
        if index != read:
            image, read = read_rgb(info['img_path']), index
        height, width, _ = image.shape
        found = [(label, square_around(box, height, width))]
        if with_background:
            boxes = np.array([instance['bbox'] for instance in info['instances']], dtype=np.float64)
            place = background_square(found[0][1], boxes, height, width, random)
            found += [] if place is None else [(1, place)]
        for number, (left, top, side) in found:
            crops.append(resize_and_crop(np.ascontiguousarray(image[top:top + side, left:left + side]), resize, size))
            labels.append(number)
            groups.append(index)
    return _task(name, classes + [BACKGROUND] * with_background, crops, np.array(labels, dtype=np.int64),
                 np.array(groups, dtype=np.int64), seed)


def _task(name: str, classes: list[str], crops: list[np.ndarray], labels: np.ndarray, groups: np.ndarray,
          seed: int) -> Task:
    counts = np.bincount(labels, minlength=len(classes))
    kept = np.flatnonzero(counts >= 2)
    if len(kept) < 2:
        counted = ', '.join(f'{count} of {title}' for title, count in zip(classes, counts))
        raise InputError(f'kNN on crops needs two classes with two crops each, and {name} gives {counted}: choose '
                         f'--shortlist label_free, which needs no labels')
    rows = np.flatnonzero(np.isin(labels, kept))
    labels, groups = np.searchsorted(kept, labels[rows]), groups[rows]
    titles = [classes[number] for number in kept]
    splits = stratified_splits(labels, seed=seed, classes=titles, where=name, groups=groups)
    return Task(f'crops of {name}', titles, [crops[row] for row in rows], labels, splits, groups=groups)


def _longer_side(box: Any) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def square_around(box: np.ndarray, height: int, width: int) -> tuple[int, int, int]:
    """Left, top and side of the square around ``box`` (left, top, right, bottom), inside the image."""
    side = min(max(1, round(_longer_side(box))), height, width)
    left, top = (round(float(low + high - side) / 2) for low, high in ((box[0], box[2]), (box[1], box[3])))
    return min(max(left, 0), width - side), min(max(top, 0), height - side), side


def background_square(like: tuple[int, int, int], boxes: np.ndarray, height: int, width: int,
                      random: np.random.Generator) -> tuple[int, int, int] | None:
    """A square of the side of ``like``, at a random place that overlaps no box; None if none was found."""
    side = like[2]
    for left, top in zip(random.integers(0, width - side + 1, TRIES), random.integers(0, height - side + 1, TRIES)):
        apart = ((boxes[:, 0] >= left + side) | (boxes[:, 2] <= left) |
                 (boxes[:, 1] >= top + side) | (boxes[:, 3] <= top))
        if apart.all():
            return int(left), int(top), side
    return None
