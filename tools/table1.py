"""The paper's Table 1 with numbers of our own: networks × classification tasks.

    python tools/table1.py --networks 'SimSiam=simsiam.pth' 'SDR (SimSiam)=exports/{task}.pth' --out work_dirs/table1
    python tools/table1.py --weights baselines --networks 'SDR (SimSiam)=exports/{task}.pth' --out work_dirs/table1
    python tools/table1.py --networks 'mine=mine.pth' 'theirs=timm:resnet50' --tasks my_images --splits 5 --out table
    torchrun --nproc-per-node 8 tools/table1.py …

The same command goes on where it stopped. Without --tasks the table has the paper's eleven.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.evaluation.cells import PROTOCOLS, RESIZE, Protocol
from sdr_mm.evaluation.paper import TASKS
from sdr_mm.evaluation.table1 import Table1
from sdr_mm.evaluation.table_axes import check_files, given_rows, paper_rows, read_columns
from sdr_mm.evaluation.table_run import fill_table
from sdr_mm.evaluation.table_text import markdown, save_table
from sdr_mm.routing.arguments import choose_device, given, image_arguments

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'tasks'


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[image_arguments(' or '.join(f'{pixels} for {name}' for name, pixels in RESIZE.items()))])
    group = parser.add_argument_group('table')
    group.add_argument('--networks', nargs='*', default=(), metavar='NAME=NETWORK',
                       help='a checkpoint file, timm:NAME, torchvision:NAME, mmpretrain:NAME or baseline:NAME@FILE; '
                            '{task} in it stands for the name of the task (dtd, food101, …, or that of the folder)')
    group.add_argument('--weights', metavar='DIR',
                       help="folder of the publishers' weight files: adds all rows of the paper's table")
    group.add_argument('--tasks', nargs='+', metavar='TASK',
                       help="folders of labeled images or configs (default: the paper's eleven in configs/tasks)")
    group.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    group.add_argument('--splits', type=int, default=1, help='random splits of CLASS/… folders (default: 1)')
    group.add_argument('--out', metavar='DIR', required=True,
                       help='folder for table.md, table.csv and table.json, and for the cells that are ready')
    group = parser.add_argument_group('protocol')
    group.add_argument('--protocol', choices=PROTOCOLS, default='linear',
                       help='linear (many-shot) or kNN (default: linear)')
    group.add_argument('--k', type=int, help='neighbors of kNN (default: 200)')
    group.add_argument('--temperature', type=float, help='T of kNN (default: 0.07)')
    group.add_argument('--batch-size', type=int, default=200, help='images in a batch (default: 200)')
    args = parser.parse_args(argv)

    rows = given_rows(args.networks)
    if args.weights:
        rows = paper_rows(args.weights, rows)
    if not rows:
        raise InputError("no networks: give --networks 'NAME=FILE' …, or --weights DIR for the paper's baselines")
    if args.protocol != 'knn' and given(args, 'k', 'temperature'):
        raise InputError('--k and --temperature are options of kNN: give --protocol knn, or leave them out')
    protocol = Protocol(args.protocol, **given(args, 'resize', 'size', 'k', 'temperature'))
    columns = read_columns(args.tasks or [CONFIGS / f'{name}.py' for name in TASKS], splits=args.splits,
                           data_root=args.data_root, **given(args, 'seed'))
    check_files(rows, columns)

    main_process = os.environ.get('RANK', '0') == '0'
    if main_process:
        for column in columns:
            if column.error:
                print(f'{column.title} cannot be read: {column.error}', file=sys.stderr)
    outcomes = fill_table(rows, columns, protocol, args.out, batch_size=args.batch_size, workers=args.workers,
                          device=choose_device(args.device), say=lambda text: print(text, file=sys.stderr, flush=True),
                          **given(args, 'on_error'))
    if outcomes is None:
        return
    table = Table1.build(rows, columns, protocol, outcomes)
    files = save_table(table, args.out)
    count = {state: sum(outcome.state == state for outcome in outcomes) for state in ('computed', 'stored', 'failed')}
    print(markdown(table))
    print(f'cells: {count["computed"]} computed, {count["stored"]} stored before, {count["failed"]} failed; written to '
          f'{", ".join(map(str, files))}')
    unread = sum(column.task is None for column in columns)
    if count['failed'] or unread:
        what = [f'{count["failed"]} cells failed'] * bool(count['failed'])
        what += [f'{unread} tasks could not be read'] * bool(unread)
        raise InputError(f'{" and ".join(what)}, see above: correct that and run the same command again')


if __name__ == '__main__':
    run(main)
