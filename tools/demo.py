"""Runs the whole path on real images: SimSiam, clusters, SDR, routing, export.

    make demo                  Google and Twitter emoji as the pool, three tasks to route for
    make demo DATA=FOLDER      your own images as the pool
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.cli import run
from sdr_mm.demo.pipeline import Steps, prepare_out
from sdr_mm.demo.pipeline import run as run_path
from sdr_mm.demo.recipe import Recipe
from sdr_mm.demo.table import table


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/demo', metavar='FOLDER', help='(default: %(default)s)')
    parser.add_argument('--data', metavar='FOLDER', help='your own images, flat or nested, in place of the emoji')
    parser.add_argument('--task', metavar='FOLDER', action='append',
                        help='a task of your own, a folder with one sub-folder per class; may be repeated')
    parser.add_argument('--epochs', type=int, default=Recipe.epochs, help='passes over the images (default: %(default)s)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    started = time.monotonic()
    out = Path(args.out)
    prepare_out(out)
    steps = Steps(7, print)
    steps.begin('real images, checksummed and cached')
    pool, tasks = images(args)
    steps.end(f'pool: {pool}', *[f'task {name}: {folder}' for name, folder in tasks.items()])
    lines = run_path(pool, tasks, out, Recipe(epochs=args.epochs), steps=steps)
    print(f'\n{table(lines)}\n')
    print(f'table {out / "table.md"}, numbers {out / "demo.json"}, picture {out / "demo.png"}')
    print(f'{(time.monotonic() - started) / 60:.1f} minutes')


if __name__ == '__main__':
    run(main)
