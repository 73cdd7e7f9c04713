"""Runs the study: what has no JSON file yet is trained, scored and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from projects.demo.pipeline import random_network
from sdr_mm.datasets.pool import Pool
from sdr_mm.engine.configs import load_config
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write
from sdr_mm.models.backbone import SDRBackbone
from sdr_mm.registry import MODELS

from .images import StudyImages, study_images
from .plan import RANDOM, REFERENCES, Plan, Run
from .scores import SCORE, score_network, score_references, score_separate, score_subnets
from .training import Training

BN = ('task', 'own')


def measure(plan: Plan, out: Path, results: Path, seeds: Sequence[int], names: Sequence[str] | None = None) -> None:
    """Trains and scores what is missing.

    Args:
        plan (Plan): The study.
        out (Path): Folder of images, checkpoints and clusters; other studies may have theirs in it too.
        results (Path): Folder of the JSON files, one a run and seed.
        seeds (Sequence[int]): Seeds, the first one with all runs first.
        names (Sequence[str], optional): Some of its runs. Defaults to None, all.

    Raises:
        InputError: If a name is unknown.
    """
    known = [RANDOM, *plan.runs]
    names = list(names or known)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f'the study has no run {unknown[0]}: choose among {", ".join(known)}')
    results.mkdir(parents=True, exist_ok=True)
    images = study_images(out, plan.tasks)
    write(results / f'{REFERENCES}.json', references, images)
    for seed in seeds:
        training = Training(plan, seed, images, out)
        for name in names:
            write(results / f'{name}-{seed}.json', measured, name, training)


def write(file: Path, work: Callable[..., dict[str, Any]], *args: Any) -> None:
    """Writes what ``work`` gives, unless it is there."""
    if not file.exists():
        content = work(*args)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(content) + '\n', encoding='utf-8')
        print(file, flush=True)


def references(images: StudyImages) -> dict[str, Any]:
    """Scores of what nobody learned, and how many images train and test."""
    sizes = {task.name: [len(task.splits[SCORE].train), len(task.splits[SCORE].test)] for task in images.tasks}
    return dict(run=REFERENCES, pool=len(images.of(())), tasks=sizes, scores=score_references(images.tasks))


def measured(name: str, training: Training) -> dict[str, Any]:
    """Scores of one run, which is trained first if need be."""
    seed, tasks = training.seed, training.images.tasks
    if name == RANDOM:
        file = training.folder / 'random.pth'
        if not file.exists():
            random_network(training.checkpoint_of(training.plan.first), file, seed)
        pool = pool_of(training.images, ())
        return dict(run=name, seed=seed, scores={bn: score_network(file, tasks, bn, pool) for bn in BN})
    run = training.plan.runs[name]
    if run.separate:
        scores, subnets = score_separate(training.checkpoints_of(name), tasks)
        return dict(run=name, seed=seed, epochs=run.epochs, scores=dict(task=scores), subnets=dict(task=subnets))
    file = training.checkpoint_of(name)
    seconds = file.parent / 'seconds'  # Is not there if the training was interrupted.
    content: dict[str, Any] = dict(run=name, seed=seed, epochs=run.epochs, scores={}, subnets={},
                                   seconds=int(seconds.read_text()) if seconds.exists() else None)
    own, sdr = pool_of(training.images, run.domains), is_sdr(run)
    for bn in BN:
        if sdr:
            mode = bn if bn == 'task' else 'all' if run.shared else 'cluster'
            content['scores'][bn], content['subnets'][bn] = score_subnets(file, tasks, mode)
        else:
            content['scores'][bn] = score_network(file, tasks, bn, own)
    return content


def is_sdr(run: Run) -> bool:
    """Whether what it trains has sub-nets."""
    backbone = MODELS.get(load_config(str(run.config)).model.backbone.type)
    return backbone is not None and issubclass(backbone, SDRBackbone)


def pool_of(images: StudyImages, domains: Sequence[str]) -> Pool:
    """The images that a run trains on."""
    return Pool([str(images.root / name) for name in images.of(domains)], None)
