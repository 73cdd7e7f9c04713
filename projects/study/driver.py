"""Runs the study: what has no JSON file yet is trained, scored and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from projects.demo.pipeline import random_network
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.pool import Pool
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_folder

from .images import StudyImages, study_images
from .plan import RUNS, SDR
from .scores import SCORE, score_network, score_references, score_separate, score_subnets
from .training import checkpoint_of, checkpoints_of

BN = ('task', 'own')
RANDOM = 'random'


def measure(out: Path, results: Path, seeds: Sequence[int], names: Sequence[str] | None = None) -> None:
    """Trains and scores what is missing.

    Args:
        out (Path): Folder of images, checkpoints and clusters.
        results (Path): Folder of the JSON files, one a run and seed.
        seeds (Sequence[int]): Seeds, the first one with all runs first.
        names (Sequence[str], optional): Some of :data:`RUNS`. Defaults to None, all.

    Raises:
        InputError: If a name is unknown, or a folder cannot be written to.
    """
    known = [RANDOM, *RUNS]
    names = list(names or known)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f'the study has no run {unknown[0]}: choose among {", ".join(known)}')
    for folder in (results, out):
        check_folder(folder)
    results.mkdir(parents=True, exist_ok=True)
    images = study_images(out)
    listed = ImageFolder(str(images.root), ann_file=str(images.list_file.resolve()))
    pool = Pool([listed.get_data_info(index)['img_path'] for index in range(len(listed))], None)

    write(results / 'references.json', references, images, pool)
    for seed in seeds:
        for name in names:
            write(results / f'{name}-{seed}.json', measured, name, seed, images, pool, out)


def write(file: Path, work: Callable[..., dict[str, Any]], *args: Any) -> None:
    """Writes what ``work`` gives, unless it is there."""
    if not file.exists():
        content = work(*args)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(content) + '\n', encoding='utf-8')
        print(file, flush=True)


def references(images: StudyImages, pool: Pool) -> dict[str, Any]:
    """Scores of what nobody learned, and how many images train and test."""
    sizes = {task.name: [len(task.splits[SCORE].train), len(task.splits[SCORE].test)] for task in images.tasks}
    return dict(run='references', pool=len(pool.paths), tasks=sizes, scores=score_references(images.tasks))


def measured(name: str, seed: int, images: StudyImages, pool: Pool, out: Path) -> dict[str, Any]:
    """Scores of one run, which is trained first if need be."""
    if name == RANDOM:
        file = out / f'seed{seed}' / 'random.pth'
        if not file.exists():
            random_network(checkpoint_of('baseline', seed, images, out), file, seed)
        return dict(run=name, seed=seed, scores={bn: score_network(file, images.tasks, bn, pool) for bn in BN})
    if RUNS[name].separate:
        scores, subnets = score_separate(checkpoints_of(name, seed, images, out), images.tasks)
        return dict(run=name, seed=seed, epochs=RUNS[name].epochs, scores=dict(task=scores), subnets=dict(task=subnets))
    file = checkpoint_of(name, seed, images, out)
    seconds = file.parent / 'seconds'  # Is not there if the training was interrupted.
    content: dict[str, Any] = dict(run=name, seed=seed, epochs=RUNS[name].epochs, scores={}, subnets={},
                                   seconds=int(seconds.read_text()) if seconds.exists() else None)
    for bn in BN:
        if RUNS[name].config == SDR:
            mode = bn if bn == 'task' else 'all' if RUNS[name].shared else 'cluster'
            content['scores'][bn], content['subnets'][bn] = score_subnets(file, images.tasks, mode)
        else:
            content['scores'][bn] = score_network(file, images.tasks, bn, pool)
    return content
