"""The paper's Table 1 with numbers of our own: networks × classification tasks.

    python -m projects.paper_tables --networks 'SDR (SimSiam)=exports/{task}.pth' --out work_dirs/table1
    python -m projects.paper_tables --weights baselines --networks 'SDR (SimSiam)=exports/{task}.pth' --out table
    python -m projects.paper_tables --networks 'mine=mine.pth' 'theirs=timm:resnet50' --tasks my_images --out table
    torchrun --nproc-per-node 8 -m projects.paper_tables …

The same command resumes. Without --tasks the table has the paper's eleven.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import COUNT, Parser, given, image_arguments, positive
from sdr_mm.cli import is_main_process, run, say
from sdr_mm.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'tasks'


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, parents=[image_arguments()])
    group = parser.add_argument_group('table')
    group.add_argument('--networks', nargs='*', default=(), metavar='NAME=NETWORK',
                       help='a checkpoint file, timm:NAME, torchvision:NAME, mmpretrain:NAME or baseline:NAME@FILE; '
                            '{task} in it stands for the name of the task (dtd, food101, …, or that of the folder)')
    group.add_argument('--weights', metavar='DIR',
                       help="folder of the publishers' weight files: adds all rows of the paper's table")
    group.add_argument('--tasks', nargs='+', metavar='TASK',
                       help="folders of labeled images or configs (default: the paper's eleven in configs/tasks)")
    group.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    group.add_argument('--splits', type=COUNT, default=1, help='random splits of CLASS/… folders (default: 1)')
    group.add_argument('--out', metavar='DIR', required=True,
                       help='folder for table.md, table.csv, table.json and a file for each evaluation')
    group = parser.add_argument_group('protocol')
    group.add_argument('--protocol', choices=('linear', 'knn'), default='linear',
                       help='linear (many-shot) or kNN (default: linear)')
    group.add_argument('--k', type=COUNT, help='neighbors of kNN (default: what fits the network)')
    group.add_argument('--temperature', type=positive, help='T of kNN (default: 0.07)')
    group.add_argument('--batch-size', type=COUNT, default=200, help='images in a batch (default: 200)')
    args = parser.parse_args(argv)

    from sdr_mm.distributed import choose_device
    from sdr_mm.evaluation.evaluate import Protocol

    from . import paper, table1
    table1.check_out(args.out)
    rows = table1.given_rows(args.networks)
    if args.weights:
        rows = table1.paper_rows(args.weights, rows)
    if not rows:
        raise InputError("no networks: give --networks 'NAME=FILE' …, or --weights DIR for the paper's baselines")
    if args.protocol != 'knn' and given(args, 'k', 'temperature'):
        raise InputError('--k and --temperature are options of kNN: give --protocol knn, or leave them out')
    protocol = Protocol(args.protocol, args.resize, args.size, k=() if args.k is None else (args.k, ),
                        **given(args, 'temperature'))
    columns = table1.read_columns(args.tasks or [CONFIGS / f'{name}.py' for name in paper.TASKS], splits=args.splits,
                                  data_root=args.data_root, **given(args, 'seed'))
    table1.check_weights(rows, columns)
    unread = [column for column in columns if column.task is None]
    for column in unread if is_main_process() else ():
        say(f'{column.title} cannot be read: {column.error}')
    results = table1.evaluate_missing(rows, columns, protocol, args.out, batch_size=args.batch_size,
                                      workers=args.workers, device=choose_device(args.device), say=say,
                                      **given(args, 'on_error'))
    if results is None:
        return
    found, computed = results
    table = table1.tabulate(rows, columns, protocol, found)
    files = table1.save_table(table, args.out)
    failed = sum(isinstance(result, str) for result in found.values())
    print(table1.markdown(table))
    print(f'evaluations: {computed} computed, {len(found) - computed - failed} stored before, {failed} failed; written '
          f'to {", ".join(map(str, files))}')
    if failed or unread:
        what = [f'{failed} evaluations failed'] * bool(failed)
        what += [f'{len(unread)} tasks could not be read'] * bool(unread)
        raise InputError(f'{" and ".join(what)}, see above: correct that and run the same command again')


if __name__ == '__main__':
    run(main)
