"""Pre-train, cluster, train the SDRNet, route, export: each step of the demo as a function."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from sdr_mm.clustering.build import build_clusters
from sdr_mm.clustering.features import extract_features
from sdr_mm.clustering.report import evaluate_clusters
from sdr_mm.clusters import Clusters
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.engine.configs import load_config, use_clusters, use_folder, use_on_error
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.evaluation.task import Task
from sdr_mm.files import atomic_write
from sdr_mm.images import ImageStore
from sdr_mm.models.checkpoints import build_resnet, load_resnet, read_state_dict
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.registry import MODELS
from sdr_mm.routing.bn_reset import reset_bn
from sdr_mm.routing.bn_source import BNReset
from sdr_mm.routing.evaluator import RoutingEvaluator
from sdr_mm.routing.export import export_subnet, extract_subnet
from sdr_mm.routing.load_sdr import Pool, load_pool, load_sdr
from sdr_mm.routing.result import RoutingResult
from sdr_mm.visualization.report import routing_report

from .recipe import Recipe
from .scoring import Scorer, linear_lines, reference_lines, untrained_network
from .splits import routing_splits
from .table import Line, network_lines, subnet_lines, table

CONFIGS = Path(__file__).parents[2] / 'configs' / 'small'
BASELINE_CONFIG = CONFIGS / 'simsiam_resnet18_b64-15e_32px.py'
SDR_CONFIG = CONFIGS / 'sdr_simsiam_resnet18_b64-15e_32px.py'

# Titles of the blocks of the table.
KNN_POOL = 'kNN, BN statistics of all networks from the whole pool'
KNN_CLUSTER = 'kNN, BN statistics of each sub-net from its cluster'


def training_config(file: Path, pool: Path, work_dir: Path, recipe: Recipe, desc: str) -> Config:
    """A small config on the images of ``pool`` with the sizes of the recipe and a progress bar."""
    cfg = load_config(str(file))
    use_folder(cfg, str(pool))
    use_on_error(cfg, 'skip')
    cfg.work_dir = str(work_dir)
    cfg.log_level = 'WARNING'
    cfg.train_cfg.max_epochs = recipe.epochs
    for scheduler in cfg.param_scheduler:
        scheduler.update(T_max=recipe.epochs, end=recipe.epochs)
    cfg.train_dataloader.batch_size = recipe.batch_size
    cfg.train_dataloader.num_workers = recipe.workers
    cfg.train_dataloader.persistent_workers = recipe.workers > 0
    cfg.default_hooks.checkpoint.update(interval=recipe.epochs)
    cfg.custom_hooks.append(dict(type='ProgressBarHook', desc=desc))
    return cfg


def trained(cfg: Config) -> Path:
    """Trains a config and returns its last checkpoint."""
    threads = torch.get_num_threads()
    # More threads than cores that the loaders leave free slow each other down severely.
    torch.set_num_threads(max(1, threads - cfg.train_dataloader.num_workers))
    try:
        train(cfg)
    finally:
        torch.set_num_threads(threads)
    return Path(cfg.work_dir) / f'epoch_{cfg.train_cfg.max_epochs}.pth'


def cluster(checkpoint: Path, pool: Path, out: Path, sdr: SDRResNet, recipe: Recipe) -> tuple[Clusters, str]:
    """Clusters the pool by the features of the baseline; writes features and ``clusters.npz``.

    Returns:
        tuple: The clusters, and a report about their sizes.
    """
    network, info = load_resnet(checkpoint)
    features = extract_features(
        network, ImageFolder(str(pool)), out / 'features', mean=info['mean'], std=info['std'], resize=recipe.size,
        size=recipe.size, batch_size=256, workers=recipe.workers, on_error='skip')
    # A small pool is divided nearly evenly, because every cluster has to fill a batch.
    clusters = build_clusters(
        features, sdr.space, epochs=recipe.cluster_epochs, assign='posterior', min_size=recipe.batch_size)
    clusters.save(out / 'clusters.npz')
    return clusters, evaluate_clusters(clusters).table()


def rank(sdr: SDRResNet, tasks: Mapping[str, Task], pool: Pool, baseline: Path, recipe: Recipe, bn_reset: str,
         normalization: tuple[Any, Any]) -> dict[str, RoutingResult]:
    """Ranks the sub-nets for each task, on the splits of :func:`routing_splits`."""
    mean, std = normalization
    return {
        name: RoutingEvaluator(
            task, baseline=baseline, k=recipe.k, bn_reset=bn_reset, resize=recipe.size, size=recipe.size,
            on_error='skip').evaluate(sdr, pool=pool, mean=mean, std=std)
        for name, task in tasks.items()
    }


def export(sdr: SDRResNet, subnet: int, pool: Pool, file: Path, recipe: Recipe, meta: dict[str, Any]) -> str:
    """Exports a sub-net, loads the file into a stock MMPretrain ResNet and compares their features.

    Returns:
        str: What the comparison showed.

    Raises:
        RuntimeError: If the reloaded network is another one.
    """
    network = extract_subnet(sdr, sdr.space.path(subnet))
    images = ImageStore(pool.paths, resize=recipe.size, size=recipe.size, on_error='skip')
    _, chosen = BNReset('cluster').images(subnet, pool, None)
    reset_bn(network, images.batches(chosen, 200))
    export_subnet(network, file, config=sdr.subnet_config(), meta=meta)
    stock = build_resnet(sdr.subnet_config())
    keys = stock.load_state_dict(read_state_dict(file), strict=False)
    if keys.missing_keys or keys.unexpected_keys:
        raise RuntimeError(f'{file} does not fit a stock ResNet: {keys}')
    batch = next(images.batches(chosen[:32], 32))
    difference = float((stock(batch)[0] - network(batch)[0]).detach().abs().max())
    if difference > 1e-5:
        raise RuntimeError(f'{file} gives other features than the sub-net: they differ by {difference:.1e}')
    return (f'{file}: loaded by a stock mmpretrain.ResNet, {len(stock.state_dict())} tensors, none missing, none '
            f'unexpected; features differ by {difference:.0e}')


def prepare_out(out: Path) -> None:
    """Makes the demo's folder, in place of that of an earlier demo.

    Raises:
        InputError: If the folder holds something else.
    """
    marker = out / 'demo.json'
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise InputError(f'{out} holds something else than a demo: pass another --out')
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    marker.write_text('{}\n')


class Steps:
    """Says which step runs and how long each one took.

    Args:
        total (int): Number of steps.
        say (Callable): Prints a line.
    """

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.say = total, say
        self.number = 0
        self.started = self.start = time.monotonic()

    def begin(self, title: str) -> None:
        """Announces the next step."""
        self.number += 1
        self.started = time.monotonic()
        self.say(f'[{self.number}/{self.total}] {title}')

    def end(self, *results: str) -> None:
        """Says what the step gave and how long it took."""
        for result in results:
            for line in result.splitlines():
                self.say(f'      {line}')
        self.say(f'      {time.monotonic() - self.started:.0f} s')


def run(pool_folder: Path, task_folders: Mapping[str, Path], out: Path, recipe: Recipe,
        say: Callable[[str], None] = print, steps: Steps | None = None) -> list[Line]:
    """Runs the whole path.

    Args:
        pool_folder (Path): Images without labels.
        task_folders (Mapping[str, Path]): For each task a folder with one sub-folder per class.
        out (Path): Folder to write: checkpoints, clusters, rankings, export, table and picture.
        recipe (Recipe): Sizes.
        say (Callable): Prints a line. Defaults to print.
        steps (Steps, optional): Counter of steps that has begun already. Defaults to a new one.

    Returns:
        list[Line]: The lines of the table.

    Raises:
        InputError: If the images or the folders cannot be used.
    """
    steps = steps or Steps(6, say)
    tasks = {name: routing_splits(Task.from_folder(folder, name=name), recipe.repeats)
             for name, folder in task_folders.items()}
    sdr_cfg = training_config(SDR_CONFIG, pool_folder, out / 'sdr', recipe, 'SDR')
    empty = MODELS.build(sdr_cfg.model.backbone)
    count = len(ImageFolder(str(pool_folder)))
    needed = len(empty.space) * recipe.batch_size
    if count < needed:
        batch_size = count // (len(empty.space) * 2)
        if batch_size < 8:
            raise InputError(f'{pool_folder} has {count} images, too few for {len(empty.space)} clusters: give a '
                             f'folder with at least {len(empty.space) * 16}')
        recipe = replace(recipe, batch_size=batch_size)
        sdr_cfg = training_config(SDR_CONFIG, pool_folder, out / 'sdr', recipe, 'SDR')

    steps.begin(f'SimSiam baseline: {recipe.epochs} passes over {count} images')
    baseline = trained(training_config(BASELINE_CONFIG, pool_folder, out / 'simsiam', recipe, 'SimSiam'))
    steps.end()

    steps.begin(f'clustering into {len(empty.space)} clusters')
    _, report = cluster(baseline, pool_folder, out, empty, recipe)
    steps.end(report)

    steps.begin(f'SDR: {len(empty.space)} sub-nets and the super-net, as many images in all as the baseline')
    use_clusters(sdr_cfg, str(out / 'clusters.npz'))
    checkpoint = trained(sdr_cfg)
    steps.end()

    steps.begin(f'BN reset and routing on {len(tasks)} tasks')
    sdr, info = load_sdr(checkpoint)
    pool = load_pool(info, sdr)
    normalization = (info.mean, info.std)
    on_cluster = rank(sdr, tasks, pool, baseline, recipe, 'cluster', normalization)
    on_pool = rank(sdr, tasks, pool, baseline, recipe, 'all', normalization)
    scorer, untrained = Scorer(tasks, pool, recipe, normalization), untrained_network(baseline)
    lines = reference_lines(scorer, untrained)
    lines += network_lines(on_pool, KNN_POOL) + subnet_lines(on_pool, KNN_POOL)
    lines += subnet_lines(on_cluster, KNN_CLUSTER)
    lines += linear_lines(scorer, untrained, baseline, sdr, on_pool)
    for name, result in on_cluster.items():
        result.save(out / f'routing_{name}.json')
    steps.end()

    steps.begin('export of the routed sub-net')
    chosen = {name: choosing(result) for name, result in on_cluster.items()}
    task, best = max(chosen.items(), key=lambda item: item[1].gains()[0])
    assert best.best.subnet is not None
    file = out / f'resnet18_{task}.pth'
    steps.end(export(sdr, best.best.subnet, pool, file, recipe, dict(task=task, subnet=best.best.subnet)))

    steps.begin('table and picture')
    assert pool.clusters is not None
    # Equal BN statistics for all, so that the gains in the picture are none of the statistics.
    same_bn = [choosing(result) for result in on_pool.values()]
    routing_report(same_bn, pool.paths, pool.clusters, out / 'demo.png', seed=1)
    save_results(out, lines, recipe)
    steps.end()
    return lines


def choosing(result: RoutingResult) -> RoutingResult:
    """The ranking on the splits that choose, without those that score."""
    rows = [replace(row, scores=row.scores[:len(row.scores) // 2]) for row in result.rows]
    return RoutingResult.from_rows(result.task, rows, result.settings, result.cost)


def save_results(out: Path, lines: list[Line], recipe: Recipe) -> None:
    """Writes the table as Markdown and its numbers as JSON."""
    with atomic_write(out / 'table.md') as temporary:
        temporary.write_text(table(lines) + '\n', encoding='utf-8')
    content = dict(recipe=vars(recipe), lines=[vars(line) for line in lines])
    with atomic_write(out / 'demo.json', overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
