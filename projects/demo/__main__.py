"""Runs the whole path on real images: SimSiam, clusters, SDR, routing, export.

    make demo                  Google, Twitter and OpenMoji emoji as the pool, three tasks to route for
    make demo DATA=FOLDER      your own images as the pool
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import COUNT, Parser
from sdr_mm.cli import run

TASKS = ('fluent_category', 'fluent_fine', 'animal_silhouettes')
# Of each class of a task, so that routing keeps within the demo's time.
IMAGES_PER_CLASS = 150


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--out', default='work_dirs/demo', metavar='FOLDER', help='(default: %(default)s)')
    parser.add_argument('--data', metavar='FOLDER', help='your own images, flat or nested, in place of the emoji')
    parser.add_argument('--task', metavar='FOLDER', action='append',
                        help='a task of your own, a folder with one sub-folder per class; may be repeated')
    parser.add_argument('--epochs', type=COUNT, default=7,
                        help='passes over the images, of SimSiam and of SDR each (default: %(default)s)')
    return parser.parse_args(argv)


def images(args: argparse.Namespace) -> tuple[Path, dict[str, Path]]:
    """The pool, and the tasks by name; only what is not given is fetched."""
    from projects.real_data import prepare
    tasks = {Path(folder).resolve().name: Path(folder) for folder in args.task or []}
    wanted = ([] if args.data else ['pool']) + ([] if tasks else list(TASKS))
    folders = prepare(names=wanted, max_per_class=IMAGES_PER_CLASS).folders if wanted else {}
    pool = Path(args.data) if args.data else folders.pop('pool')
    return pool, tasks or folders


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # Threads that spin while they wait for each other make this five times slower where other programs run.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # is read when torch is imported
    from projects.demo.pipeline import Recipe, prepare_out
    from projects.demo.pipeline import run as run_path
    from projects.demo.table import table
    started, out = time.monotonic(), Path(args.out)
    prepare_out(out)
    pool, tasks = images(args)
    lines = run_path(pool, tasks, out, Recipe(epochs=args.epochs))
    print(f'\n{table(lines)}\n')
    print(f'table {out / "table.md"}, numbers {out / "demo.json"}, picture {out / "demo.png"}')
    print(f'{(time.monotonic() - started) / 60:.1f} minutes')


if __name__ == '__main__':
    run(main)
