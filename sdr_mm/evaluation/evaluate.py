"""One evaluation: a frozen network on a task by a protocol, and the JSON file that keeps it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from mmengine.dist import is_main_process
from torch import Tensor

from ..arguments import given
from ..cli import progress
from ..distributed import process_group
from ..errors import InputError
from ..files import atomic_write, check_output
from ..models.checkpoints import weights_fingerprint
from ..models.eval_settings import EvalSettings
from ..models.zoo import Network, load_network
from ..records import build, check, read_json
from .checks import rows
from .features import task_features
from .knn import knn_predict
from .linear import L2_GRID, MAX_ITER, TOL, linear_probe
from .metrics import METRICS
from .task import Task
from .task_config import load_task

FORMAT = 'sdr_mm evaluation 1'
PROTOCOLS = ('linear', 'knn')


@dataclass(frozen=True)
class Protocol:
    """How frozen features are scored.

    Both learn from the training and validation images of a split and are tested on its test images; the linear
    one chooses its l2 weight on the validation images first.

    Args:
        name (str): ``'linear'``, the many-shot protocol of ssl-transfer, or ``'knn'``. Defaults to 'linear'.
        resize (int, optional): Short side of the images, in pixels. Defaults to None: for kNN what fits the
            network, for the linear protocol ``size``, as in ssl-transfer.
        size (int, optional): Side of the center crop, in pixels. Defaults to None, what fits the network.
        k (Sequence[int]): Neighbors of kNN. Defaults to (), the number that fits the network.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        solver (str): As for :func:`linear_probe`. Defaults to 'torch'.
        l2 (float, optional): As for :func:`linear_probe`.
        tol (float): As for :func:`linear_probe`.

    Raises:
        InputError: If a value cannot be used.
    """

    name: str = 'linear'
    resize: int | None = None
    size: int | None = None
    k: Sequence[int] = ()
    temperature: float = 0.07
    solver: str = 'torch'
    l2: Sequence[float] = L2_GRID
    tol: float = TOL

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            raise InputError(f'the protocol is one of {", ".join(PROTOCOLS)}, got {self.name!r}')
        if any(k < 1 for k in self.k) or not self.temperature > 0:
            raise InputError(f'kNN needs k >= 1 and a positive temperature, got {tuple(self.k)} and {self.temperature}')
        if self.size is not None and self.resize is not None:
            EvalSettings(size=self.size, resize=self.resize)

    def settings(self, network: EvalSettings) -> dict[str, Any]:
        """All that determines the scores of a network beside its weights and the task."""
        size = network.size if self.size is None else self.size
        resize = size if self.name == 'linear' and self.resize is None else self.resize
        fitting = network.but(resize=resize, size=size)
        mean, std = (list(values) for values in fitting.normalization)
        settings = dict(protocol=self.name, resize=fitting.resize, size=fitting.size, mean=mean, std=std)
        if self.name == 'knn':
            return dict(settings, k=list(self.k or [fitting.k]), temperature=self.temperature)
        return dict(settings, solver=self.solver, l2=list(self.l2), tol=self.tol)


class ValScore(TypedDict):
    """The score of a linear probe on the validation images."""

    l2: float
    score: float
    iterations: int


class ProbeSplit(TypedDict):
    """How a linear probe came about on one split."""

    score: float
    l2: float
    unconverged: int
    seconds: float
    val_scores: list[ValScore]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a frozen network on a task, per cent by the task's metric.

    Args:
        network (str): Its name.
        task (str): Its name.
        metric (str): Key of :data:`METRICS`.
        settings (dict): Those of :meth:`Protocol.settings`.
        fingerprints (dict): Of ``network``, its weights, and of ``task``, see :func:`task_fingerprint`.
        scores (dict): A number for each split, by ``'linear'`` or each ``'k = …'``; the first ones count.
        classes (int): Of the task.
        train (int): Images that train, those that validate included, in the first split.
        test (int): Images that test, in the first split.
        skipped (int): Images that could not be decoded and were left out.
        seconds (float): What it took, decoding included.
        splits (list[dict]): How each linear probe came about, see :class:`LinearResult`. Defaults to none.
    """

    network: str
    task: str
    metric: str
    settings: dict[str, Any]
    fingerprints: dict[str, str]
    scores: dict[str, list[float]]
    classes: int
    train: int
    test: int
    skipped: int
    seconds: float
    splits: list[ProbeSplit] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean over the splits."""
        return float(np.mean(next(iter(self.scores.values()))))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the splits, None if there is one."""
        scores = next(iter(self.scores.values()))
        return float(np.std(scores)) if len(scores) > 1 else None

    def save(self, file: str | Path, overwrite: bool = False) -> None:
        """Writes JSON, whole or not at all; an InputError if the file exists and may not be replaced."""
        with atomic_write(file, overwrite) as temporary:
            temporary.write_text(json.dumps(dict(format=FORMAT, **asdict(self)), indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, file: str | Path) -> Evaluation:
        """Reads what :meth:`save` wrote; an InputError if it is something else."""
        content = read_json(file, 'evaluate again')
        try:
            check(content, dict[str, Any], 'it')
            if content.pop('format', None) != FORMAT:
                raise ValueError(f'its format is not {FORMAT!r}')
            evaluation = build(cls, content, 'it')
            splits = {len(scores) for scores in evaluation.scores.values()}
            if len(splits) != 1 or 0 in splits or len(evaluation.splits) not in (0, *splits) or not all(
                    split['val_scores'] and split['l2'] > 0 for split in evaluation.splits):
                raise ValueError('its scores are not a number or more by each of its names')
            return evaluation
        except ValueError as error:
            raise InputError(f'{file} cannot be read as an evaluation ({error}): evaluate again') from error

    def report(self, val_scores: bool = False) -> str:
        """Text for a terminal; ``val_scores`` asks for the validation score of each l2 of a linear probe."""
        how = self.settings
        method, options = (('kNN', f'T = {how["temperature"]}') if how['protocol'] == 'knn' else
                           ('linear probe', f'solver {how["solver"]}'))
        skipped = f', {self.skipped} images could not be decoded' if self.skipped else ''
        lines = [f'{self.task}: {self.classes} classes, {self.train} training and {self.test} test images{skipped}; '
                 f'{method} of {self.network}, {self.metric} in %, {options}, {how["size"]} of {how["resize"]} px']
        for split in self.splits:
            best = max(entry['score'] for entry in split['val_scores'])
            lines.append(f'{split["score"]:.2f} with l2 = {split["l2"]:.4g} (C = {1 / split["l2"]:.4g}), the best of '
                         f'{len(how["l2"])} on validation images ({best:.2f}); {split["seconds"]:.1f} s')
            lines += [f'  l2 = {entry["l2"]:<10.4g} {entry["score"]:6.2f}  {entry["iterations"]:4} steps'
                      for entry in split['val_scores'] if val_scores]
            if split['unconverged']:
                lines.append(f'  {split["unconverged"]} of {len(how["l2"]) + 1} fits did not reach their tolerance in '
                             f'{MAX_ITER} steps')
        for k, (name, scores) in zip(how.get('k', [0]), self.scores.items()):
            name += f' (clamped to {self.train})' if k > self.train else ''
            spread = f' ± {np.std(scores):.2f} over {len(scores)} splits' if len(scores) > 1 else ''
            if spread or not self.splits:
                lines.append(f'{name}: {np.mean(scores):.2f}{spread}')
        return '\n'.join(lines)


def evaluate_network(network: Network, task: Task, protocol: Protocol = Protocol(), *, name: str | None = None,
                     **options: Any) -> Evaluation | None:
    """Scores a frozen network on a task. All ranks must call.

    Args:
        network (Network): It is moved to ``device``.
        task (Task): With labels.
        protocol (Protocol): Defaults to the linear one.
        name (str, optional): Of the network. Defaults to None, its own.
        **options: ``on_error``, ``batch_size``, ``workers`` and ``device`` of :func:`task_features`.

    Returns:
        Evaluation | None: None on all ranks but the first.

    Raises:
        InputError: If images, features or options cannot be used.
    """
    start = time.perf_counter()
    settings = protocol.settings(network.settings)
    features, readable = task_features(network.module, task, normalization=network.settings.normalization,
                                       resize=settings['resize'], size=settings['size'], **options)
    scores, splits = (_knn if protocol.name == 'knn' else _linear)(features, readable, settings)
    if not is_main_process():
        return None
    train, test = readable.splits[0].scoring()
    return Evaluation(name or network.name, task.name, task.metric, settings,
                      dict(network=weights_fingerprint(network.module), task=task_fingerprint(task)), scores,
                      len(task.classes), len(train), len(test), len(task.paths) - len(readable.paths),
                      round(time.perf_counter() - start, 2), splits)


def evaluate_given(args: argparse.Namespace, protocol: Protocol) -> Evaluation | None:
    """As :func:`evaluate_network`, of what the arguments of a tool name (:mod:`sdr_mm.arguments`), and saves it."""
    check_output(args.out, args.overwrite)
    task = load_task(args.task, splits=args.splits, **given(args, 'seed', 'metric', 'data_root'))
    with process_group(args.device) as device:
        evaluation = evaluate_network(load_network(args.network), task, protocol, batch_size=args.batch_size,
                                      workers=args.workers, device=device, **given(args, 'on_error'))
    if evaluation is not None and args.out is not None:
        evaluation.save(args.out, args.overwrite)
    return evaluation


Scores = tuple[dict[str, list[float]], list[ProbeSplit]]


def _knn(features: Tensor, task: Task, settings: dict[str, Any]) -> Scores:
    scores: dict[str, list[float]] = {f'k = {k}': [] for k in settings['k']}
    for split in task.splits:
        train, test = split.scoring()
        votes = knn_predict(rows(features, train), task.labels[train], rows(features, test), k=settings['k'],
                            temperature=settings['temperature'], num_classes=len(task.classes), across_ranks=True)
        for k, vote in votes.items():
            scores[f'k = {k}'].append(METRICS[task.metric](vote, task.labels[test]))
    return scores, []


def _linear(features: Tensor, task: Task, settings: dict[str, Any]) -> Scores:
    """On the first rank."""
    results = [linear_probe(features, task.labels, split, metric=task.metric, num_classes=len(task.classes),
                            groups=task.groups, **{key: settings[key] for key in ('solver', 'l2', 'tol')})
               for split in progress(task.splits if is_main_process() else [], desc=f'linear probe on {task.name}')]
    splits = [ProbeSplit(score=float(result.score), l2=result.l2, unconverged=result.unconverged,
                         seconds=round(result.seconds, 2),
                         val_scores=[ValScore(l2=l2, score=float(score), iterations=result.iterations[l2])
                                     for l2, score in result.val_scores.items()]) for result in results]
    return dict(linear=[float(result.score) for result in results]), splits


def task_fingerprint(task: Task) -> str:
    """Stands for the images, by their names, the labels, the groups, the splits and the metric of a task.

    Files count by their path in the folder that they have in common, arrays by their content.
    """
    digest = hashlib.sha256(json.dumps([task.metric, list(task.classes)]).encode())
    files = [os.path.abspath(image) for image in task.paths if not isinstance(image, np.ndarray)]
    root = os.path.commonpath(files) if files else ''
    for image in task.paths:
        if isinstance(image, np.ndarray):
            digest.update(hashlib.sha256(image.tobytes()).digest() + f'{image.shape}\n'.encode())
        else:
            digest.update(f'{Path(os.path.relpath(image, root)).as_posix()}\n'.encode())
    parts = [part for split in task.splits for part in (split.train, split.val, split.test)]
    for part in (task.labels, task.groups, *parts):
        digest.update(b'none' if part is None else
                      f'{part.shape}'.encode() + np.ascontiguousarray(part, dtype='<i8').tobytes())
    return f'sha256:{digest.hexdigest()}'
