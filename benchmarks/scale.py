"""What grows with images, sub-nets and processes: the sampler and its clusters file, checkpoints, clustering.

    python benchmarks/scale.py
    python benchmarks/scale.py --images 1e9 --folder /a/disk/with/6/GB

It writes a clusters file of so many images, without the images (image i is in cluster i mod k), and starts processes
that draw batches from it, as those of a training do. Memory is what such a process has above its imports: all of it
(RSS), and what it shares with nobody (private). Seconds are those of the clock and, where it says CPU, of one core,
which other work on the machine does not lengthen. The file is deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from rounds import parse, parser_of, save, timed

import sdr_mm.models  # noqa: F401, registers them
from sdr_mm.arguments import COUNT, positive
from sdr_mm.cli import progress, run
from sdr_mm.cluster_order import ClusterOrder
from sdr_mm.clustering.feature_matrix import CACHE_BYTES
from sdr_mm.clusters import Clusters, write_clusters
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.sampler import ClusterAwareSampler
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint, image_names
from sdr_mm.registry import MODELS
from sdr_mm.space import SUPERNET, SubnetSpace
from sdr_mm.stored_array import CHUNK, Chunks
from sdr_mm.text_table import text_table

MB, GB = 1e6, 1e9
NAMES = 100_000
ROOT = Path(__file__).resolve().parents[1]


class Simulated:
    """All that the sampler asks of a ClusterDataset, of which the image list is left out."""

    def __init__(self, file: str, minimum: int) -> None:
        clusters = Clusters.open(file)
        clusters.check_sizes(minimum, file)
        self.space, self.order = clusters.space, clusters.order
        self.size, self.take = self.order.size, self.order.take


def write_simulated(file: Path, images: int, groups: int, blocks: int, dimensions: int) -> None:
    """A clusters file of ``images`` images of which image ``i`` is in cluster ``i mod k``, in chunks."""
    space = SubnetSpace(groups, blocks)
    k, last = len(space), np.min_scalar_type(images - 1)
    random = np.random.default_rng(0).standard_normal((k, dimensions), dtype=np.float32)
    clusters = Clusters(np.empty(0, np.int64), random, np.array(space.paths), groups, fingerprint([]), 'random')

    def assignment() -> Iterator[np.ndarray]:
        for start in range(0, images, CHUNK):
            yield np.arange(start, min(start + CHUNK, images)) % k

    def order() -> Iterator[np.ndarray]:
        for cluster in progress(range(k), desc='writing clusters'):
            for start in range(cluster, images, k * CHUNK):
                yield np.arange(start, min(start + k * CHUNK, images), k)

    with open(file, 'wb') as opened:
        write_clusters(opened, clusters, Chunks(images, np.min_scalar_type(-k), assignment()),
                       Chunks(images, last, order()), images // k + (np.arange(k) < images % k))


def memory() -> dict[str, float]:
    """Bytes of this process: resident, and those of them that no other process shares."""
    found = {line.split(':')[0]: float(line.split()[1]) * 1024
             for line in Path('/proc/self/smaps_rollup').read_text().splitlines()[1:]}
    return dict(rss=found['Rss'], private=found['Private_Clean'] + found['Private_Dirty'])


def draw(file: str, batch_size: int, rank: int, world_size: int, seconds: float) -> None:
    """One process of a training: starts, draws batches for so long, and prints what it took as JSON."""
    before = memory()
    start, core = time.perf_counter(), time.process_time()
    sampler = _sampler(file, batch_size, rank, world_size)
    next(iter(sampler))
    started, start_cpu = time.perf_counter() - start, time.process_time() - core
    count, drawn, core = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - drawn < seconds:
        sampler.start(1000 + count)
        count += sum(1 for _ in islice(sampler, 256))
    took, took_cpu = time.perf_counter() - drawn, time.process_time() - core
    after = memory()
    print(json.dumps(dict(start=started, start_cpu=start_cpu, batches=count / took, batch_cpu=took_cpu / count,
                          drawn=count, **{name: after[name] - before[name] for name in after})))


def _sampler(file: str, batch_size: int, rank: int, world_size: int) -> ClusterAwareSampler:
    dataset: Any = Simulated(file, batch_size * world_size)
    sampler = ClusterAwareSampler(argparse.Namespace(dataset=dataset, seed=0), batch_size, rank, world_size)
    # All phases at once: each network is drawn from the first iteration on.
    sampler.set_schedule(PhaseSchedule(dataset.space, 1 << 40, phase_iters=(0, ) * (dataset.space.num_blocks + 1)))
    return sampler


def sampling(file: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One process of each world size, the last rank, alone on the machine as far as this benchmark goes."""
    found = []
    for world_size in args.world_sizes:
        batch_size = min(args.batch_size, args.images // args.subnets // world_size)
        if not batch_size:
            raise InputError(f'{args.images} images cannot fill {args.subnets} clusters with a batch of {world_size} '
                             'processes: give more --images or smaller --world-sizes')
        command = [sys.executable, __file__, '--draw', str(file), str(batch_size), str(world_size - 1), str(world_size),
                   str(args.seconds)]
        # What packages print while they are imported comes before.
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        found.append(dict(world_size=world_size, batch_size=batch_size, **json.loads(printed)))
    return found


def cpu(action: Callable[[], object]) -> float:
    """Seconds of one core that an action takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def hashing(file: Path) -> float:
    """Seconds in which the main process reads all images of the file once, to know the run by them."""
    order = Clusters.open(file).order
    digest = hashlib.sha256()
    return cpu(lambda: [digest.update(images) for images in order.chunks(SUPERNET)])


def sorting(images: int, k: int) -> tuple[float, float]:
    """Seconds to sort an assignment of a million images, as ``Clusters.save`` does, and by NumPy as a whole."""
    assignment = np.random.default_rng(0).integers(k, size=min(images, 4_000_000))
    return tuple(cpu(work) / len(assignment) * 1e6 for work in (  # type: ignore[return-value]
        lambda: ClusterOrder.of(assignment, np.arange(k)), lambda: np.argsort(assignment, kind='stable')))


def names() -> tuple[float, float, float]:
    """Seconds a million images to make and fingerprint an image list, bytes an image that it keeps, and at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / 'list.txt'
        listed.write_text(''.join(f'n{i % 1000:08d}/n{i % 1000:08d}_{i:08d}.JPEG\n' for i in range(NAMES)))
        made: list[ImageFolder] = []

        def work() -> None:
            made.append(ImageFolder(folder, ann_file='list.txt'))
            fingerprint(image_names(made[-1]))

        seconds = cpu(work)
        kept = made.pop()
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return seconds / NAMES * 1e6, (kept.data_bytes.nbytes + kept.data_address.nbytes) / NAMES, peak / NAMES


def checkpoint_bytes() -> dict[str, dict[str, int]]:
    """Bytes of what the recipes' checkpoints hold, counted from their models without the memory of these."""
    found = {}
    for name in ('simsiam', 'byol'):
        with torch.device('meta'):
            model = MODELS.build(Config.fromfile(str(ROOT / f'configs/sdr_{name}.py')).model)
        state = {key: tensor.nbytes for key, tensor in model.state_dict().items()}
        average = sum(size for key, size in state.items() if key.startswith('target_'))
        found[name] = dict(weights=sum(state.values()) - average, average=average, optimizer=sum(
            parameter.nbytes for parameter in model.parameters() if parameter.requires_grad))
    return found


def clustering_bytes(n: int, d: int, k: int) -> dict[str, float]:
    """Bytes of clustering n images of d features into k clusters, as FeatureMatrix and Clusters keep them."""
    kept = [4.0 * n * width for width in (d, k) if 4.0 * n * width <= CACHE_BYTES]
    working = sum(kept) + 2 * (64 << 20) + 8.0 * n
    return dict(features=4.0 * n * d, working=working, saving=12.0 * n)


def main() -> None:
    if sys.argv[1:2] == ['--draw']:
        file, *numbers, seconds = sys.argv[2:]
        draw(file, *map(int, numbers), float(seconds))
        return
    parser = parser_of(__doc__)
    parser.add_argument('--images', type=positive, default=10**6, help='(default: 1e6)')
    parser.add_argument('--num-groups', type=COUNT, default=4, help='(default: 4)')
    parser.add_argument('--num-blocks', type=COUNT, default=4, help='(default: 4)')
    parser.add_argument('--dimensions', type=COUNT, default=2048, help='of the features (default: 2048)')
    parser.add_argument('--batch-size', type=COUNT, default=64, help='on one process (default: 64)')
    parser.add_argument('--world-sizes', type=COUNT, nargs='+', default=[1, 8, 64], help='(default: 1 8 64)')
    parser.add_argument('--seconds', type=positive, default=5, help='to draw batches for (default: 5)')
    parser.add_argument('--folder', help='where to put the clusters file (default: that for temporary files)')
    args = parse(parser)
    args.images, args.subnets = int(args.images), len(SubnetSpace(args.num_groups, args.num_blocks))
    content: dict[str, Any] = dict(images=args.images, subnets=args.subnets)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = Path(folder) / 'clusters.npz'
        content['write'] = timed(lambda: write_simulated(file, args.images, args.num_groups, args.num_blocks,
                                                         args.dimensions))
        content['file'] = os.path.getsize(file)
        content['sampling'] = sampling(file, args)
        content['read_once'] = hashing(file)
    content['sort'], content['argsort'] = sorting(args.images, args.subnets)
    content['names'], content['name_bytes'], content['name_peak'] = names()
    content['checkpoint'] = checkpoint_bytes()
    content['clustering'] = clustering_bytes(args.images, args.dimensions, args.subnets)
    print(describe(content))
    save(args.json, 'simulated, without images', **content)


def describe(content: dict[str, Any]) -> str:
    """What was measured, in tables."""
    million, clustering, checkpoint = content['images'] / 1e6, content['clustering'], content['checkpoint']
    table = text_table(
        ['processes', 'batch of each', 'start', 'CPU', 'RSS above imports', 'private', 'batches/s of one',
         'CPU of a batch', 'drawn'],
        [[str(one['world_size']), str(one['batch_size']), f'{one["start"]:.3f} s', f'{one["start_cpu"]:.3f} s',
          f'{one["rss"] / MB:.1f} MB', f'{one["private"] / MB:.1f} MB', f'{one["batches"]:,.0f}',
          f'{one["batch_cpu"] * 1e3:.2f} ms', f'{one["drawn"]:,}'] for one in content['sampling']])
    note = f'(extrapolated from {NAMES:,})'
    rows = [
        ['clusters file', f'{content["file"] / GB:.3f} GB, written in {content["write"]:.1f} s'],
        ['read once by the main process', f'{content["read_once"]:.1f} s of CPU'],
        ['sort (tools/cluster.py, once)', f'{content["sort"] * million:.1f} s of CPU (by argsort '
                                          f'{content["argsort"] * million:.1f} s; extrapolated)'],
        ['image list, each process', f'{content["name_bytes"] * content["images"] / GB:.2f} GB, at first '
                                     f'{content["name_peak"] * content["images"] / GB:.2f} GB; '
                                     f'{content["names"] * million:.1f} s of CPU {note}'],
        *([f'checkpoint of {name}, ResNet-50 of 256 sub-nets', f'{sum(one.values()) / GB:.2f} GB: weights '
           f'{one["weights"] / GB:.2f}, momentum {one["optimizer"] / GB:.2f}, average {one["average"] / GB:.2f}']
          for name, one in checkpoint.items()),
        ['clustering', f'features {clustering["features"] / GB:,.2f} GB on disk; memory '
                       f'{clustering["working"] / GB:.2f} GB on a CPU, {clustering["saving"] / GB:.2f} GB to save'],
    ]
    return f'{table}\n\n' + text_table([f'{content["images"]:,} images, {content["subnets"]} sub-nets', ''], rows,
                                       left=(0, 1))


if __name__ == '__main__':
    run(main)
