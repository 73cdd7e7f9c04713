"""Which sub-nets are worth fine-tuning: routing for a detection set without training a detector."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..cli import progress
from ..datasets.pool import Pool
from ..errors import InputError
from ..evaluation.task import Task, stratified_splits
from ..images import IMAGENET, Normalization, read_rgb, resize_and_crop
from ..models.backbone import SDRBackbone
from ..routing import BNReset, Exact, LabelFree, Ranking, RoutingEvaluator, Scorer

SHORTLISTS = ('label_free', 'knn_crops', 'all')
BACKGROUND = 'background'
TRIES = 50
"""Positions that are tried for a background crop of one object."""


@dataclass(frozen=True)
class Shortlist:
    """How sub-nets are ordered before the race.

    - ``'label_free'``: by the share of the training images that resembles their cluster; one pass of the super-net.
    - ``'knn_crops'``: by kNN on the boxes of the training annotations, cropped from the images
      (:func:`crops_task`), all sub-nets with BN statistics of the crops, so that they run as a tree.
    - ``'all'``: not at all.

    Args:
        mode (str): See above. Defaults to 'label_free'.
        candidates (int): How many stay. Defaults to 8.
        k (int): Neighbors of kNN, clamped to the training crops. Defaults to 20, because crops are few.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        per_cluster (int): Images of each cluster. Defaults to 32.
        most_crops (int): Most crops of a class. Defaults to 100.

    Raises:
        InputError: If an argument is out of range.
    """

    mode: str = 'label_free'
    candidates: int = 8
    k: int = 20
    temperature: float = 0.07
    per_cluster: int = 32
    most_crops: int = 100

    def __post_init__(self) -> None:
        if self.mode not in SHORTLISTS:
            raise InputError(f'a shortlist is one of {", ".join(SHORTLISTS)}, got {self.mode!r}')
        if self.candidates < 1 or self.most_crops < 2:
            raise InputError(f'need --candidates >= 1 and --most-crops >= 2, got {self.candidates} and '
                             f'{self.most_crops}')

    @property
    def settings(self) -> dict[str, Any]:
        """What the order of sub-nets depends on, beside the mode."""
        return {name: value for name, value in asdict(self).items() if name not in ('mode', 'candidates')}

    def shortens(self, subnets: int) -> bool:
        """Whether there is anything to leave out."""
        return self.mode != 'all' and self.candidates < subnets

    def rank(self, backbone: SDRBackbone, dataset: Any, name: str, *, bn: BNReset, images: dict[str, Any],
             pool: Pool | None = None, normalization: Normalization = IMAGENET) -> Ranking:
        """Ranks all sub-nets.

        Args:
            backbone (SDRBackbone): On the device where it shall run.
            dataset (BaseDataset): Training images of the detector.
            name (str): Of the data, for tables.
            bn (BNReset): Its number of images, batch size and seed.
            images (dict): ``resize``, ``size``, ``on_error`` and ``workers`` of :class:`RoutingEvaluator`.
            pool (Pool, optional): Images of pre-training, for ``'label_free'``. Defaults to None.
            normalization (Normalization): Of the SDRNet's input. Defaults to ImageNet's.
        """
        bn = BNReset('task', bn.num_images, bn.batch_size, bn.seed)
        if self.mode == 'label_free':
            evaluator = RoutingEvaluator(images_task(dataset, name), search=LabelFree(per_cluster=self.per_cluster),
                                         bn=bn, **images)
        else:
            task = crops_task(dataset, name, most=self.most_crops, resize=images['resize'], size=images['size'],
                              seed=bn.seed)
            evaluator = RoutingEvaluator(task, search=Exact(), bn=bn, **images,
                                         scorer=Scorer(k=self.k, temperature=self.temperature))
        return evaluator.evaluate(backbone, pool=pool, normalization=normalization)

    def sentence(self, subnets: int) -> str:
        """What was not done in full."""
        if self.mode == 'label_free':
            how = (f'the share of the training images that resembles their cluster ({self.per_cluster} images of each, '
                   f'one pass of the super-net, no labels)')
        else:
            how = f'kNN on crops of the training boxes (at most {self.most_crops} a class, BN statistics of the crops)'
        return f'{subnets} sub-nets were ordered by {how}; the first {self.candidates} were fine-tuned'


def images_task(dataset: Any, name: str) -> Task:
    """The images of a detection set, whole and without labels."""
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    return Task(name, [], paths, np.zeros(len(paths), dtype=np.int64), [])


def crops_task(dataset: Any, name: str, *, resize: int = 256, size: int = 224, most: int = 100, smallest: int = 8,
               seed: int = 0) -> Task:
    """The objects of a detection set, cropped from the images, with their class as label.

    A crop is the square around a box, moved into the image where it leaves it; its short side is resized to
    ``resize`` pixels and its center of ``size`` kept. At most ``most`` random ones of a class are taken, of boxes whose
    longer side is at least ``smallest``. With one class only, crops of the same sizes and images that overlap no box
    are a second class, the background. Crops of one image that have the same class stay on one side of the split.

    Raises:
        InputError: If fewer than two classes have two crops (others are left out), or an image cannot be decoded.
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
    found: list[tuple[int, int]] = []  # class and image of each crop
    chosen.sort(key=lambda entry: entry[0])  # An image is decoded once.
    image, read = np.empty((0, 0, 3), np.uint8), -1
    for index, label, box in progress(chosen, len(chosen), f'cropping {name}'):
        info = dataset.get_data_info(index)
        if index != read:
            image, read = read_rgb(info['img_path']), index
        height, width, _ = image.shape
        squares = [(label, square_around(box, height, width))]
        if with_background:
            boxes = np.array([instance['bbox'] for instance in info['instances']], dtype=np.float64)
            free = background_square(squares[0][1], boxes, height, width, random)
            squares += [] if free is None else [(1, free)]
        for number, (left, top, side) in squares:
            crops.append(resize_and_crop(np.ascontiguousarray(image[top:top + side, left:left + side]), resize, size))
            found.append((number, index))
    classes += [BACKGROUND] * with_background
    labels, groups = np.array(found, dtype=np.int64).reshape(-1, 2).T
    counts = np.bincount(labels, minlength=len(classes))
    kept = np.flatnonzero(counts >= 2)
    if len(kept) < 2:
        counted = ', '.join(f'{count} of {title}' for title, count in zip(classes, counts))
        raise InputError(f'kNN on crops needs two classes with two crops each, and {name} gives {counted}: choose '
                         f'--shortlist label_free, which needs no labels')
    numbers, titles = np.flatnonzero(np.isin(labels, kept)), [classes[label] for label in kept]
    labels, groups = np.searchsorted(kept, labels[numbers]), groups[numbers]
    splits = stratified_splits(labels, seed=seed, classes=titles, where=name, groups=groups)
    return Task(f'crops of {name}', titles, [crops[number] for number in numbers], labels, splits, groups=groups)


def _longer_side(box: Any) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def square_around(box: np.ndarray, height: int, width: int) -> tuple[int, int, int]:
    """Left, top and side of the square around ``box`` (left, top, right, bottom), inside the image."""
    side = min(max(1, round(_longer_side(box))), height, width)
    left, top = (round(float(low + high - side) / 2) for low, high in ((box[0], box[2]), (box[1], box[3])))
    return min(max(left, 0), width - side), min(max(top, 0), height - side), side


def background_square(like: tuple[int, int, int], boxes: np.ndarray, height: int, width: int,
                      random: np.random.Generator) -> tuple[int, int, int] | None:
    """A square of the side of ``like``, at a random position that overlaps no box; None if none was found."""
    side = like[2]
    for left, top in zip(random.integers(0, width - side + 1, TRIES), random.integers(0, height - side + 1, TRIES)):
        apart = ((boxes[:, 0] >= left + side) | (boxes[:, 2] <= left) |
                 (boxes[:, 1] >= top + side) | (boxes[:, 3] <= top))
        if apart.all():
            return int(left), int(top), side
    return None
