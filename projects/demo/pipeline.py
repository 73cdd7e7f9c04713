"""The whole path, as a program of one's own would walk it: pre-train, cluster, train the SDRNet, route, export."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

import torch

import sdr_mm
from projects.real_data.mixed import SIZE, MixedPool
from sdr_mm.clustering import build_clusters, evaluate_clusters, extract_features
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.engine.configs import load_config, use_clusters, use_epochs, use_folder, use_init_from, use_on_error
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task
from sdr_mm.files import atomic_write, check_folder
from sdr_mm.models.backbone import build_plain, pool_features
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import Ranking, export_subnet
from sdr_mm.space import SubnetSpace
from sdr_mm.visualization import routing_report

from .scoring import linear_lines, reference_lines
from .table import Line, choosing, network_lines, subnet_lines, table

CONFIGS = Path(__file__).parents[2] / 'configs' / 'small'
SIMCLR, CLUSTER_BATCHES, SDR = (CONFIGS / f'{name}_resnet18_b128-10e_32px.py'
                                for name in ('simclr', 'simclr_cluster-batches', 'sdr_simclr'))
SPACE = SubnetSpace(num_groups=4, num_blocks=1)
OPTIONS = {
    # The last stage is routed and nearly all of it a sub-net's own, so that the sub-nets can become different.
    'model.backbone.routed_blocks': (3, ), 'model.backbone.base_channels': (1, 15),
    # Each sub-net begins as a copy of the baseline. The super-net is no copy, and is not trained.
    'custom_hooks.0.supernet_prob': 0., 'custom_hooks.0.phase_iters': (0, ) * (SPACE.num_blocks + 1)}

SHIPPED = 'pool-r18'
POOL = 'pool.txt'
MARKER = 'demo.json'

# Titles of the blocks of the table.
REFERENCES = 'kNN, features not learned'
KNN_SHIPPED = f'kNN, {SHIPPED}'
KNN_TASK = 'kNN, trained by the demo'
LINEAR = 'linear probe, trained by the demo'


@dataclass(frozen=True)
class Recipe:
    """Sizes of the demo; the defaults are what ``make demo`` runs.

    Args:
        first (int): Passes over the pool of the baseline that all others begin with.
        more (int): Passes of each of these.
        batch_size (int): Images of a batch.
        k (int): Neighbors of kNN.
        cluster_epochs (int): Epochs of SGD on the centroids.
    """

    first: int = 8
    more: int = 6
    batch_size: int = 128
    k: int = 20
    cluster_epochs: int = 10


def run(pool: MixedPool, out: Path, recipe: Recipe, say: Callable[[str], None] = print) -> list[Line]:
    """Runs the whole path.

    Args:
        pool (MixedPool): What the networks train on, and the tasks, as :func:`~projects.demo.scoring.demo_task` gives
            them.
        out (Path): Folder to write: checkpoints, clusters, rankings, export, table and picture.
        recipe (Recipe): Sizes.
        say (Callable): Prints. Defaults to print.

    Returns:
        list[Line]: The lines of the table.

    Raises:
        InputError: If the images or the folders cannot be used.
    """
    tasks = pool.tasks
    recipe = fitted(recipe, len(pool.names), pool.root)
    images = ImageFolder(str(pool.root), ann_file=pool.write_list(out / POOL))

    sdr = sdr_mm.load(SHIPPED, device='cpu')
    with step(f'[1/7] routing on {len(tasks)} tasks in {SHIPPED}, which comes with the package: {len(sdr.space)} '
              'sub-nets', say):
        rankings = [sdr.route(task, bn='task', k=recipe.k, baseline=f'{SHIPPED}-baseline', on_error='skip')
                    for task in tasks]
        shipped = [*network_lines(rankings, {'SimCLR of equal size on as many images': 'baseline'}, KNN_SHIPPED),
                   *subnet_lines(rankings, KNN_SHIPPED)]
        say(indent(table(shipped), '      '))

    with step(f'[2/7] SimCLR: {recipe.first} passes over {len(images)} images', say):
        first = pretrain(SIMCLR, pool.root, out / 'simclr', recipe, recipe.first)

    with step(f'[3/7] clustering by its features into {len(SPACE)} clusters', say):
        features = extract_features(load_network(str(first)).module, images, out / 'features', pool=pool_features,
                                    resize=SIZE, size=SIZE, batch_size=256, on_error='skip')
        # A small pool is divided nearly evenly, because every cluster has to fill a batch.
        clusters = build_clusters(features, SPACE, epochs=recipe.cluster_epochs, assign='posterior',
                                  min_size=recipe.batch_size)
        clusters.save(out / 'clusters.npz')
        say(indent(evaluate_clusters(clusters).table(), '      '))

    with step(f'[4/7] on from it, {recipe.more} passes each: SimCLR, one network on batches of one cluster at a time, '
              f'SDR with {len(SPACE)} sub-nets', say):
        longer = pretrain(SIMCLR, pool.root, out / 'longer', recipe, recipe.more, first)
        control = pretrain(CLUSTER_BATCHES, pool.root, out / 'cluster_batches', recipe, recipe.more, first,
                           clusters=True)
        checkpoint = pretrain(SDR, pool.root, out / 'sdr', recipe, recipe.more, first, clusters=True, options=OPTIONS)

    with step(f'[5/7] BN reset and routing on {len(tasks)} tasks', say):
        sdr = sdr_mm.load(checkpoint, device='cpu')
        random = random_network(first, out / 'random.pth')
        networks = {'SimCLR': str(first), 'SimCLR, trained on': 'baseline',
                    'one network, cluster-pure batches': str(control)}
        rankings = [sdr.route(task, bn='task', k=recipe.k, baseline=longer, on_error='skip',
                              candidates=[random, str(first), str(control)]) for task in tasks]
        for ranking in rankings:
            ranking.save(out / f'routing_{ranking.task}.json')
        lines = [*reference_lines(tasks, recipe.k, REFERENCES),
                 *network_lines(rankings, {'random network': random}, REFERENCES), *shipped,
                 *network_lines(rankings, networks, KNN_TASK), *subnet_lines(rankings, KNN_TASK),
                 *linear_lines(sdr, tasks, rankings, {'random network': random, **networks,
                                                     'SimCLR, trained on': longer}, LINEAR)]

    with step('[6/7] export of the routed sub-net', say):
        ranking = max(map(choosing, rankings), key=lambda ranking: ranking.gains()[0])
        task = next(task for task in tasks if task.name == ranking.task)
        say(indent(export(sdr, ranking, task, out / f'resnet18_{ranking.task}.pth'), '      '))

    with step('[7/7] table and picture', say):
        # Equal BN statistics for all, so that the gains in the picture are none of the statistics.
        routing_report(list(map(choosing, rankings)), sdr.pool(), out / 'demo.png', seed=1)
        with atomic_write(out / 'table.md') as temporary:
            temporary.write_text(table(lines) + '\n', encoding='utf-8')
        content = dict(recipe=asdict(recipe), lines=[asdict(line) for line in lines])
        with atomic_write(out / MARKER, overwrite=True) as temporary:
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


def pretrain(config: Path, root: Path, work_dir: Path, recipe: Recipe, epochs: int, start: Path | None = None,
             clusters: bool = False, options: dict[str, Any] | None = None) -> Path:
    """Trains a small config on the pool, whose list lies beside ``work_dir``, and returns its last checkpoint.

    Args:
        config (Path): What is trained.
        root (Path): Folder of the images.
        work_dir (Path): Folder of the checkpoint.
        recipe (Recipe): The batch size.
        epochs (int): Passes over the images.
        start (Path, optional): Checkpoint of the network to begin with. Defaults to None.
        clusters (bool): Whether a batch has images of one cluster, of the file beside ``work_dir``. Defaults to False.
        options (dict, optional): What else is set in the config. Defaults to None.
    """
    cfg = load_config(str(config), {
        'work_dir': str(work_dir), 'log_level': 'WARNING', 'default_hooks.checkpoint.interval': epochs,
        'train_dataloader.batch_size': recipe.batch_size, **(options or {})})
    cfg.custom_hooks.append(dict(type='ProgressBarHook', desc=work_dir.name))
    use_epochs(cfg, epochs)
    use_folder(cfg, str(root), str((work_dir.parent / POOL).resolve()))
    use_on_error(cfg, 'skip')
    if clusters:
        use_clusters(cfg, str(work_dir.parent / 'clusters.npz'))
    if start is not None:
        use_init_from(cfg, str(start))
    threads = torch.get_num_threads()
    # For so small a network two threads are slower than one.
    torch.set_num_threads(1)
    try:
        train(cfg)
    finally:
        torch.set_num_threads(threads)
    return work_dir / f'epoch_{epochs}.pth'


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


def export(sdr: sdr_mm.SDR, ranking: Ranking, task: Task, file: Path) -> str:
    """Exports the best sub-net of a ranking, loads the file into a stock MMPretrain ResNet and compares features.

    Returns:
        str: What the comparison showed.

    Raises:
        RuntimeError: If the reloaded network is another one.
    """
    subnet = sdr.subnet(ranking.best, task=task)
    subnet.export(file)
    stock, _ = load_resnet(file)
    images = sdr.pool().paths[:32]
    difference = float((replace(subnet, network=stock).features(images) - subnet.features(images)).abs().max())
    if difference > 1e-5:
        raise RuntimeError(f'{file} gives other features than the sub-net: they differ by {difference:.1e}')
    return (f'{file}: loaded by a stock mmpretrain.ResNet, {len(stock.state_dict())} tensors, none missing, none '
            f'unexpected; features differ by {difference:.0e}')


def check_out(out: Path) -> None:
    """Raises an InputError if :func:`prepare_out` would; changes nothing."""
    check_folder(out)
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise InputError(f'{out} holds something else than a demo: pass another --out')


def prepare_out(out: Path) -> None:
    """Makes the demo's folder, in place of that of an earlier demo.

    Raises:
        InputError: If the folder holds something else, or cannot be written to.
    """
    check_out(out)
    if out.exists() and any(out.iterdir()):
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text('{}\n')
