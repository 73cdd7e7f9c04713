"""Splits that keep the choice of a sub-net apart from its score."""

from __future__ import annotations

from dataclasses import replace

from sdr_mm.evaluation.task import Split, Task, stratified_splits


def routing_splits(task: Task, repeats: int, fraction: float = 0.25, seed: int = 0) -> Task:
    """Replaces the splits of a task by ``2 * repeats`` ones.

    The first ``repeats`` choose a sub-net: they train on some images and test on others. The last
    ``repeats`` score it, each on images that its counterpart among the first has never seen, and
    train on all the rest. Images of one group of the task stay together.

    Args:
        task (Task): Its own splits are not used.
        repeats (int): How often the images are divided anew.
        fraction (float): Part of the images that scores, and part of the rest that chooses.
            Defaults to 0.25.
        seed (int): Defaults to 0.

    Raises:
        InputError: If a class has fewer than three images.
    """
    scoring = stratified_splits(
        task.labels, splits=repeats, test_fraction=fraction, seed=seed, classes=task.classes, where=task.name,
        groups=task.groups)
    choosing = []
    for number, split in enumerate(scoring):
        inner, = stratified_splits(
            task.labels[split.train], test_fraction=fraction, seed=seed + number + 1, classes=task.classes,
            where=task.name, groups=None if task.groups is None else task.groups[split.train])
        choosing.append(Split(split.train[inner.train], split.train[inner.test]))
    return replace(task, splits=[*choosing, *scoring])
