"""The whole path, as a program of one's own would walk it: pre-train, cluster, train the SDRNet, route, export."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import indent

import torch

import sdr_mm
from sdr_mm.clustering import build_clusters, evaluate_clusters, extract_features
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.engine.configs import load_config, use_clusters, use_epochs, use_folder, use_on_error
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write
from sdr_mm.models.backbone import build_plain, pool_features
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import Ranking, export_subnet
from sdr_mm.space import SubnetSpace
from sdr_mm.visualization import routing_report

from .scoring import linear_lines, read_task, reference_lines
from .table import Line, choosing, network_lines, subnet_lines, table

CONFIGS = Path(__file__).parents[2] / 'configs' / 'small'
BASELINE_CONFIG = CONFIGS / 'simsiam_resnet18_b64-15e_32px.py'
SDR_CONFIG = CONFIGS / 'sdr_simsiam_resnet18_b64-15e_32px.py'
SPACE = SubnetSpace(num_groups=4, num_blocks=2)
SIZE = 32

# Titles of the blocks of the table.
REFERENCES = 'kNN, features not learned'
KNN_POOL = 'kNN, BN statistics of all networks from the whole pool'
KNN_CLUSTER = 'kNN, BN statistics of each sub-net from its cluster'
LINEAR = 'linear probe, BN statistics from the whole pool'


@dataclass(frozen=True)
class Recipe:
    """Sizes of the demo; the defaults are what ``make demo`` runs.

    Args:
        epochs (int): Passes over the pool, of the baseline and of SDR each.
        batch_size (int): Images of a batch.
        divisions (int): How often the images of a task are divided.
        k (int): Neighbors of kNN.
        cluster_epochs (int): Epochs of SGD on the centroids.
        workers (int): Processes that load images.
    """

    epochs: int = 7
    batch_size: int = 64
    divisions: int = 5
    k: int = 10
    cluster_epochs: int = 10
    workers: int = 1


def run(pool: Path, folders: Mapping[str, Path], out: Path, recipe: Recipe,
        say: Callable[[str], None] = print) -> list[Line]:
    """Runs the whole path.

    Args:
        pool (Path): Images without labels.
        folders (Mapping[str, Path]): For each task a folder with one sub-folder per class.
        out (Path): Folder to write: checkpoints, clusters, rankings, export, table and picture.
        recipe (Recipe): Sizes.
        say (Callable): Prints. Defaults to print.

    Returns:
        list[Line]: The lines of the table.

    Raises:
        InputError: If the images or the folders cannot be used.
    """
    tasks = [read_task(folder, name, SIZE, recipe.divisions) for name, folder in folders.items()]
    images = ImageFolder(str(pool))
    recipe = fitted(recipe, len(images), pool)

    with step(f'[1/6] SimSiam baseline: {recipe.epochs} passes over {len(images)} images', say):
        baseline = pretrain(BASELINE_CONFIG, pool, out / 'simsiam', recipe)

    with step(f'[2/6] clustering into {len(SPACE)} clusters', say):
        features = extract_features(load_network(str(baseline)).module, images, out / 'features', pool=pool_features,
                                    resize=SIZE, size=SIZE, batch_size=256, on_error='skip')
        # A small pool is divided nearly evenly, because every cluster has to fill a batch.
        clusters = build_clusters(features, SPACE, epochs=recipe.cluster_epochs, assign='posterior',
                                  min_size=recipe.batch_size)
        clusters.save(out / 'clusters.npz')
        say(indent(evaluate_clusters(clusters).table(), '      '))

    with step(f'[3/6] SDR: {len(SPACE)} sub-nets and the super-net, as many images in all as the baseline', say):
        checkpoint = pretrain(SDR_CONFIG, pool, out / 'sdr', recipe, out / 'clusters.npz')

    with step(f'[4/6] BN reset and routing on {len(tasks)} tasks', say):
        sdr = sdr_mm.load(checkpoint, device='cpu')
        random = random_network(baseline, out / 'random.pth')
        on_pool, on_cluster = ([sdr.route(task, bn=bn, k=recipe.k, baseline=baseline, candidates=[random],
                                          on_error='skip') for task in tasks] for bn in ('all', 'cluster'))
        for ranking in on_cluster:
            ranking.save(out / f'routing_{ranking.task}.json')
        lines = [*reference_lines(tasks, recipe.k, REFERENCES),
                 *network_lines(on_pool, {'random network': random}, REFERENCES),
                 *network_lines(on_pool, {'SimSiam baseline': 'baseline', 'super-net': 'super-net'}, KNN_POOL),
                 *subnet_lines(on_pool, KNN_POOL), *subnet_lines(on_cluster, KNN_CLUSTER),
                 *linear_lines(sdr, tasks, on_pool, {'random network': random, 'SimSiam baseline': baseline}, LINEAR)]

    with step('[5/6] export of the routed sub-net', say):
        ranking = max(map(choosing, on_cluster), key=lambda ranking: ranking.gains()[0])
        say(indent(export(sdr, ranking, out / f'resnet18_{ranking.task}.pth'), '      '))

    with step('[6/6] table and picture', say):
        # Equal BN statistics for all, so that the gains in the picture are none of the statistics.
        routing_report(list(map(choosing, on_pool)), sdr.pool().paths, clusters, out / 'demo.png', seed=1)
        with atomic_write(out / 'table.md') as temporary:
            temporary.write_text(table(lines) + '\n', encoding='utf-8')
        content = dict(recipe=asdict(recipe), lines=[asdict(line) for line in lines])
        with atomic_write(out / 'demo.json', overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    return lines


@contextmanager
def step(title: str, say: Callable[[str], None]) -> Iterator[None]:
    """Says what runs and how long it took."""
    start = time.monotonic()
    say(title)
    yield
    say(f'      {time.monotonic() - start:.0f} s')


def fitted(recipe: Recipe, count: int, pool: Path) -> Recipe:
    """The recipe with a batch that each of the clusters fills.

    Raises:
        InputError: If the pool is too small for any.
    """
    if count >= len(SPACE) * recipe.batch_size:
        return recipe
    batch_size = count // (2 * len(SPACE))
    if batch_size < 8:
        raise InputError(f'{pool} has {count} images, too few for {len(SPACE)} clusters: give a folder with at least '
                         f'{len(SPACE) * 16}')
    return replace(recipe, batch_size=batch_size)


def pretrain(config: Path, pool: Path, work_dir: Path, recipe: Recipe, clusters: Path | None = None) -> Path:
    """Trains a small config on the images of ``pool`` and returns its last checkpoint."""
    cfg = load_config(str(config), {
        'work_dir': str(work_dir), 'log_level': 'WARNING', 'default_hooks.checkpoint.interval': recipe.epochs,
        'train_dataloader.batch_size': recipe.batch_size, 'train_dataloader.num_workers': recipe.workers,
        'train_dataloader.persistent_workers': recipe.workers > 0})
    cfg.custom_hooks.append(dict(type='ProgressBarHook', desc=work_dir.name))
    use_epochs(cfg, recipe.epochs)
    use_folder(cfg, str(pool))
    use_on_error(cfg, 'skip')
    if clusters is not None:
        use_clusters(cfg, str(clusters))
    threads = torch.get_num_threads()
    # More threads than cores that the loaders leave free slow each other down severely.
    torch.set_num_threads(max(1, threads - recipe.workers))
    try:
        train(cfg)
    finally:
        torch.set_num_threads(threads)
    return work_dir / f'epoch_{recipe.epochs}.pth'


def random_network(baseline: Path, file: Path, seed: int = 0) -> str:
    """Writes the baseline's network before it learned anything.

    Its weights are PyTorch's initial ones. Those of MMPretrain, whose residual branches begin as zero,
    would make a weaker opponent.
    """
    _, info = load_resnet(baseline)
    torch.manual_seed(seed)
    export_subnet(build_plain(info['config']), file, config=info['config'],
                  meta=dict(settings=info['settings'].record()))
    return str(file)


def export(sdr: sdr_mm.SDR, ranking: Ranking, file: Path) -> str:
    """Exports the best sub-net of a ranking, loads the file into a stock MMPretrain ResNet and compares features.

    Returns:
        str: What the comparison showed.

    Raises:
        RuntimeError: If the reloaded network is another one.
    """
    subnet = sdr.subnet(ranking.best)
    subnet.export(file)
    stock, _ = load_resnet(file)
    images = sdr.pool().paths[:32]
    difference = float((replace(subnet, network=stock).features(images) - subnet.features(images)).abs().max())
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
