"""A cell of a table, one network on one task: how it is scored, what determines it, and its file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..files import atomic_write
from ..images.store import ImageSource
from ..models.zoo import weight_file
from .knn import knn_predict
from .linear import linear_probe
from .metrics import METRICS
from .task import Task

FORMAT = 'sdr_mm cell 1'
PROTOCOLS = ('linear', 'knn')
RESIZE = dict(linear=224, knn=256)
"""Short side in pixels that goes with each protocol: that of ssl-transfer, and that of the paper's kNN."""


@dataclass(frozen=True)
class Protocol:
    """How frozen features are scored.

    Both protocols learn from the training and validation images of a split and are tested on its test
    images; the linear one chooses its l2 weight on the validation images first.

    Args:
        name (str): ``'linear'``, the many-shot protocol of table 1, or ``'knn'``. Defaults to 'linear'.
        resize (int, optional): Short side of the images, in pixels. Defaults to None, :data:`RESIZE`.
        size (int): Side of the center crop, in pixels. Defaults to 224.
        k (int): Neighbors of kNN, clamped to the training images. Defaults to 200.
        temperature (float): ``T`` of kNN. Defaults to 0.07.

    Raises:
        InputError: If a value cannot be used.
    """

    name: str = 'linear'
    resize: int | None = None
    size: int = 224
    k: int = 200
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            raise InputError(f'the protocol is one of {", ".join(PROTOCOLS)}, got {self.name!r}')
        if not 0 < self.size <= self.short_side:
            raise InputError(f'the crop must fit into the resized image: need 0 < size <= resize, got '
                             f'size={self.size} and resize={self.short_side}')
        if self.k < 1 or not self.temperature > 0:
            raise InputError(f'kNN needs k >= 1 and a positive temperature, got {self.k} and {self.temperature}')

    @property
    def short_side(self) -> int:
        """Short side of the images, in pixels."""
        return RESIZE[self.name] if self.resize is None else self.resize

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines a score beside the network and the task."""
        settings = dict(protocol=self.name, resize=self.short_side, size=self.size)
        return settings | (dict(k=self.k, temperature=self.temperature) if self.name == 'knn' else {})

    def score(self, features: Tensor, task: Task) -> dict[str, list[float]]:
        """Scores features of all images of a task.

        Args:
            features (Tensor): (n, C), a row for each image of the task.
            task (Task): The task.

        Returns:
            dict: ``scores``, per cent by the task's metric, and ``l2``, the weight that was chosen (empty
            for kNN), each with one number a split.

        Raises:
            InputError: If features are not finite.
        """
        found: dict[str, list[float]] = dict(scores=[], l2=[])
        for split in task.splits:
            if self.name == 'linear':
                result = linear_probe(features, task.labels, split, metric=task.metric, num_classes=len(task.classes))
                found['scores'].append(float(result.score))
                found['l2'].append(float(result.l2))
                continue
            train, test = split.scoring()
            votes = knn_predict(_rows(features, train), task.labels[train], _rows(features, test), k=(self.k, ),
                                temperature=self.temperature, num_classes=len(task.classes))
            found['scores'].append(METRICS[task.metric](votes[self.k], task.labels[test]))
        return found


@dataclass(frozen=True)
class Cell:
    """The score of one network on one task.

    Args:
        scores (list[float]): Per cent, one number a split.
        train (int): Images that train, those that validate included, in the first split.
        test (int): Images that test, in the first split.
        l2 (list[float]): Weight that the linear protocol chose, one a split. Defaults to none.
        skipped (int): Images that could not be decoded and were left out. Defaults to 0.
        seconds (float): What it took, decoding included. Defaults to 0.
    """

    scores: list[float]
    train: int
    test: int
    l2: list[float] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over the splits."""
        return float(np.mean(self.scores))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the splits, None if there is one."""
        return float(np.std(self.scores)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class CellFile:
    """Where a cell is kept: its own file, so that processes never write to the same one.

    Args:
        folder (str | Path): Folder of all cells.
        row (str): Name of the row.
        task (str): Name of the task.
    """

    folder: str | Path
    row: str
    task: str

    @property
    def path(self) -> Path:
        """The file. Names that differ in characters that a file may not have get different ones."""
        name = f'{self.row}\n{self.task}'
        readable = re.sub(r'[^A-Za-z0-9]+', '-', f'{self.row} {self.task}').strip('-').lower()
        return Path(self.folder) / f'{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json'

    def load(self, identity: dict[str, Any]) -> tuple[Cell | None, str]:
        """Reads the cell.

        Args:
            identity (dict): What determines the cell now.

        Returns:
            tuple: The cell, None if there is none or something else determined it; and why it cannot be
            used, empty if it can or was never there.
        """
        try:
            content = json.loads(self.path.read_text(encoding='utf-8'))
            if content['format'] != FORMAT:
                return None, 'was written by another version'
            before, cell = content['identity'], Cell(**content['cell'])
        except FileNotFoundError:
            return None, ''
        except (ValueError, KeyError, TypeError, OSError) as error:
            return None, f'cannot be read ({type(error).__name__})'
        if before == identity:
            return cell, ''
        changed = [_WHAT.get(key, 'settings') for key in identity if before.get(key) != identity[key]]
        return None, f'was computed with {" and ".join(dict.fromkeys(changed)) or "other settings"}'

    def save(self, identity: dict[str, Any], cell: Cell) -> None:
        """Writes the cell, whole or not at all, in place of the one that was there."""
        content = dict(format=FORMAT, row=self.row, task=self.task, identity=identity, cell=asdict(cell))
        with atomic_write(self.path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


_WHAT = dict(network='another network', task='other images, labels or splits')


def network_fingerprint(spec: str) -> str:
    """Stands for the weights and the normalization that a spec of :func:`load_network` gives.

    It is made from the content of the weight file, or from the version of the library that chooses the
    weights.
    """
    file = weight_file(spec)
    if file is None:
        library = spec.partition(':')[0]
        try:
            return f'{spec} {library}=={import_module(library).__version__}'
        except ImportError:
            return spec  # Loading it will say what is missing.
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return f'{spec.removesuffix(file)}sha256:{digest.hexdigest()}'


def task_fingerprint(task: Task) -> str:
    """Stands for the images, by their names, the labels, the splits and the metric of a task.

    The content of image files is not read, and it does not matter where the task lies.
    """
    digest = hashlib.sha256(json.dumps([task.metric, list(task.classes)]).encode())
    for name in _names(task.paths):
        digest.update(name)
    for part in [task.labels, *[part for split in task.splits for part in (split.train, split.val, split.test)]]:
        if part is None:
            digest.update(b'none')
        else:
            digest.update(f'{part.shape}'.encode() + np.ascontiguousarray(part, dtype='<i8').tobytes())
    return f'sha256:{digest.hexdigest()}'


def _names(images: Sequence[ImageSource]) -> list[bytes]:
    """Files relative to the folder that they have in common; the content of those in memory."""
    files = [os.path.abspath(image) for image in images if not isinstance(image, np.ndarray)]
    root = os.path.commonpath(files) if files else ''
    names = iter(Path(os.path.relpath(file, root)).as_posix().encode() + b'\n' for file in files)
    return [hashlib.sha256(image.tobytes()).digest() + f'{image.shape}\n'.encode()
            if isinstance(image, np.ndarray) else next(names) for image in images]


def _rows(features: Tensor, numbers: np.ndarray) -> Tensor:
    return features[torch.from_numpy(numbers).to(features.device)]
