"""The paper's tables with numbers of our own beside its numbers.

    python -m projects.paper_tables --networks 'SDR (SimSiam)=exports/{task}.pth' --out work_dirs/table1
    python -m projects.paper_tables --weights baselines --networks 'SDR (SimSiam)=exports/{task}.pth' --out table
    python -m projects.paper_tables --networks 'mine=mine.pth' 'theirs=timm:resnet50' --tasks my_images --out table
    python -m projects.paper_tables --table 2 --networks 'SDR (SimSiam)=work_dirs/voc' --out work_dirs/table2
    torchrun --nproc-per-node 8 -m projects.paper_tables …

Tables 1 and 3 are classification by the linear protocol, 4 by kNN. Their networks are evaluated here, and the same
command resumes; without --tasks they have the paper's eleven. Table 2 is detection: it reads what finished trainings
have left.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdr_mm.arguments import COUNT, Parser, given, image_arguments, positive
from sdr_mm.cli import is_main_process, run, say
from sdr_mm.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'tasks'
DETECTION = 2
PROTOCOLS = {1: 'linear', 3: 'linear', 4: 'knn'}
"""The tables of classification."""


def main(argv: Sequence[str] | None = None) -> None:
    table = argparse.ArgumentParser(add_help=False)
    group = table.add_argument_group('table')
    group.add_argument('--table', type=int, choices=sorted([*PROTOCOLS, DETECTION]),
                       help="the paper's table to compare with (default: 1, or 4 with --protocol knn)")
    group.add_argument('--networks', nargs='*', default=(), metavar='NAME=NETWORK',
                       help='a checkpoint file, timm:NAME, torchvision:NAME, mmpretrain:NAME or baseline:NAME@FILE; '
                            '{task} in it stands for the name of the task (dtd, food101, …, or that of the folder). '
                            'With --table 2 the work directory of a finished tools/train.py, or the file of '
                            'tools/test.py --out; the same NAME again is another run')
    group.add_argument('--all-rows', action='store_true',
                       help="adds all rows of the paper's table, with its numbers alone where --networks has none")
    group.add_argument('--out', metavar='DIR', required=True,
                       help='folder for table.md, table.csv, table.json and a file for each evaluation')
    classification = argparse.ArgumentParser(add_help=False, parents=[image_arguments()])
    group = classification.add_argument_group('classification')
    group.add_argument('--weights', metavar='DIR',
                       help="folder of the publishers' weight files: adds all rows of the paper's Table 1")
    group.add_argument('--tasks', nargs='+', metavar='TASK',
                       help="folders of labeled images or configs (default: the paper's eleven in configs/tasks)")
    group.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    group.add_argument('--splits', type=COUNT, default=1, help='random splits of CLASS/… folders (default: 1)')
    group.add_argument('--protocol', choices=('linear', 'knn'),
                       help="linear (many-shot) or kNN (default: the table's, linear if none is given)")
    group.add_argument('--k', type=COUNT, help='neighbors of kNN (default: what fits the network)')
    group.add_argument('--temperature', type=positive, help='T of kNN (default: 0.07)')
    group.add_argument('--batch-size', type=COUNT, default=200, help='images in a batch (default: 200)')
    args = Parser(__doc__, parents=[table, classification]).parse_args(argv)

    from .table import check_out
    check_out(args.out)
    if args.table != DETECTION:
        classify(args)
        return
    useless = [f'--{name.replace("_", "-")}' for name, default in vars(classification.parse_args([])).items()
               if getattr(args, name) != default]
    if useless:
        raise InputError(f'{", ".join(useless)} cannot be used with --table {DETECTION}, which only reads finished '
                         'trainings of detectors: leave out what is for classification')
    tabulate_detection(args)


def tabulate_detection(args: argparse.Namespace) -> None:
    """Table 2."""
    from . import detection, paper
    runs = detection.read_runs(args.networks)
    names = paper.TABLE2.names(runs) if args.all_rows else [*runs]
    if not names:
        raise InputError("no networks: give --networks 'NAME=RUN' …, or --all-rows for the paper's numbers")
    if is_main_process():
        write(detection.tabulate(names, runs), args.out)


def classify(args: argparse.Namespace) -> None:
    """Tables 1, 3 and 4."""
    from sdr_mm.distributed import choose_device
    from sdr_mm.evaluation.evaluate import Protocol

    from . import classification, evaluations, paper, rows
    number = args.table or (4 if args.protocol == 'knn' else 1)
    name = args.protocol or PROTOCOLS[number]
    if name != PROTOCOLS[number]:
        raise InputError(f"the paper's Table {number} is by the protocol {PROTOCOLS[number]}: leave out --protocol "
                         f'{name}, or give another --table')
    published = paper.TABLES[number]
    networks = rows.given_rows(args.networks)
    if args.weights:
        networks = rows.baseline_rows(args.weights, networks)
    if args.all_rows:
        networks = rows.all_rows(published, networks)
    if not networks:
        raise InputError("no networks: give --networks 'NAME=FILE' …, or --weights DIR for the paper's baselines")
    if name != 'knn' and given(args, 'k', 'temperature'):
        raise InputError('--k and --temperature are options of kNN: give --protocol knn, or leave them out')
    protocol = Protocol(name, args.resize, args.size, k=() if args.k is None else (args.k, ),
                        **given(args, 'temperature'))
    columns = evaluations.read_columns(args.tasks or [CONFIGS / f'{task}.py' for task in paper.TASKS],
                                       splits=args.splits, data_root=args.data_root, **given(args, 'seed'))
    evaluations.check_weights(networks, columns)
    unread = [column for column in columns if column.task is None]
    for column in unread if is_main_process() else ():
        say(f'{column.title} cannot be read: {column.error}')
    results = evaluations.evaluate_missing(networks, columns, protocol, args.out, batch_size=args.batch_size,
                                           workers=args.workers, device=choose_device(args.device), say=say,
                                           **given(args, 'on_error'))
    if results is None:
        return
    found, computed = results
    failed = sum(isinstance(result, str) for result in found.values())
    counts = f'evaluations: {computed} computed, {len(found) - computed - failed} stored before, {failed} failed; '
    write(classification.tabulate(networks, columns, protocol, found, published), args.out, counts)
    if failed or unread:
        what = [f'{failed} evaluations failed'] * bool(failed)
        what += [f'{len(unread)} tasks could not be read'] * bool(unread)
        raise InputError(f'{" and ".join(what)}, see above: correct that and run the same command again')


def write(content: dict[str, Any], out: str, counts: str = '') -> None:
    """Writes the table and prints it."""
    from .table import markdown, save_table
    files = save_table(content, out)
    print(markdown(content))
    print(f'{counts}written to {", ".join(map(str, files))}')


if __name__ == '__main__':
    run(main)
