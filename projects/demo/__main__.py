"""Runs the whole path on real images: SimCLR, clusters, SDR, routing, export.

    make demo                  emoji, silhouettes and photos of solar cells as the pool, four tasks to route for
    make demo DATA=FOLDER      your own images as the pool
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdr_mm.arguments import COUNT, Parser
from sdr_mm.cli import run

if TYPE_CHECKING:  # It imports torch, which --help need not wait for.
    from projects.real_data.mixed import MixedPool

TASKS = ('animal_silhouettes', 'solar_cells', 'fluent_category', 'fluent_fine')
# Of each class of a task in each of its parts, so that routing keeps within the demo's time.
IMAGES_PER_CLASS = 100


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--out', default='work_dirs/demo', metavar='FOLDER', help='(default: %(default)s)')
    parser.add_argument('--data', metavar='FOLDER', help='your own images, flat or nested, as the pool')
    parser.add_argument('--task', metavar='FOLDER', action='append',
                        help='a task of your own, a folder with one sub-folder per class; may be repeated')
    parser.add_argument('--epochs', type=COUNT, nargs=2, default=(8, 6), metavar=('FIRST', 'MORE'),
                        help='passes over the images, of the first network and of those that begin with it '
                             '(default: 8 6)')
    return parser.parse_args(argv)


def images(args: argparse.Namespace) -> MixedPool:
    """The pool and the tasks; only what is not given is fetched."""
    from projects.real_data.mixed import MixedPool, choose_and_score, mixed_pool
    from sdr_mm.datasets.image_folder import ImageFolder
    from sdr_mm.evaluation import Task
    from sdr_mm.images import image_names
    tasks = [choose_and_score(Task.from_folder(folder, name=Path(folder).resolve().name))
             for folder in args.task or []]
    own = MixedPool(Path(args.data), image_names(ImageFolder(args.data)), tasks) if args.data else None
    if own is not None and tasks:
        return own
    mixed = mixed_pool(TASKS)
    return replace(own or mixed, tasks=tasks or mixed.tasks)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # Threads that spin while they wait for each other make this five times slower where other programs run.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # is read when torch is imported
    from projects.demo.pipeline import Recipe, check_out, prepare_out
    from projects.demo.pipeline import run as run_path
    from projects.demo.scoring import demo_task
    from projects.demo.table import table
    started, out = time.monotonic(), Path(args.out)
    check_out(out)
    pool = images(args)
    prepare_out(out)  # Not before it is known that there are images: an earlier demo is lost by it.
    pool = replace(pool, tasks=[demo_task(task, IMAGES_PER_CLASS) for task in pool.tasks])
    first, more = args.epochs
    lines = run_path(pool, out, Recipe(first=first, more=more))
    print(f'\n{table(lines)}\n')
    print(f'table {out / "table.md"}, numbers {out / "demo.json"}, picture {out / "demo.png"}')
    print(f'{(time.monotonic() - started) / 60:.1f} minutes')


if __name__ == '__main__':
    run(main)
