"""Trains and scores the runs of a study, each once, and prints its tables.

    python -m projects.study configs/studies/routing.py --seeds 0 1 2        what is missing, which takes hours; resumes
    python -m projects.study configs/studies/routing.py --tables --page docs/study.md            from the kept numbers
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import SEED, Parser
from sdr_mm.cli import run
from sdr_mm.files import check_folder

RESULTS = Path(__file__).parents[2] / 'docs' / 'study'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('plan', metavar='PLAN', help='the tasks and the runs, one of configs/studies')
    parser.add_argument('--out', default='work_dirs/study', metavar='FOLDER',
                        help='images, checkpoints and clusters (default: %(default)s)')
    parser.add_argument('--results', metavar='FOLDER',
                        help='a JSON file a run (default: docs/study/NAME of the repository, as the plan is called)')
    parser.add_argument('--seeds', type=SEED, nargs='+', default=[0, 1, 2], metavar='SEED')
    parser.add_argument('--runs', nargs='+', metavar='NAME', help='some of the runs (default: all)')
    parser.add_argument('--tables', action='store_true', help='print the tables and train nothing')
    parser.add_argument('--page', metavar='FILE', help='put the tables between the markers of this page')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    out, results = Path(args.out), Path(args.results) if args.results else RESULTS / Path(args.plan).stem
    from projects.study.plan import read_plan
    from projects.study.tables import around_tables, read_results, tables, write_page
    if args.page:
        around_tables(Path(args.page))
    if not args.tables:
        for folder in (results, out):
            check_folder(folder)
    plan = read_plan(args.plan)
    if not args.tables:
        # Threads that spin while they wait for each other make this five times slower where other programs run.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # is read when torch is imported
        from projects.study.driver import measure
        measure(plan, out, results, args.seeds, args.runs)
    text = tables(plan, read_results(results))
    print(text)
    if args.page:
        write_page(Path(args.page), text)


if __name__ == '__main__':
    run(main)
