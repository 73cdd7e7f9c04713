"""Trains and scores the runs of the study, each once, and prints its tables.

    python -m projects.study --out work_dirs/study --seeds 0 1 2     what is missing, which takes hours; resumes
    python -m projects.study --tables --page docs/study.md           the tables, from the numbers in docs/study
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import SEED, Parser
from sdr_mm.cli import run

RESULTS = Path(__file__).parents[2] / 'docs' / 'study'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--out', default='work_dirs/study', metavar='FOLDER',
                        help='images, checkpoints and clusters (default: %(default)s)')
    parser.add_argument('--results', default=str(RESULTS), metavar='FOLDER',
                        help='a JSON file a run (default: docs/study of the repository)')
    parser.add_argument('--seeds', type=SEED, nargs='+', default=[0, 1, 2], metavar='SEED')
    parser.add_argument('--runs', nargs='+', metavar='NAME', help='some of the runs (default: all)')
    parser.add_argument('--tables', action='store_true', help='print the tables and train nothing')
    parser.add_argument('--page', metavar='FILE', help='put the tables between the markers of this page')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    results = Path(args.results)
    if not args.tables:
        # Threads that spin while they wait for each other make this five times slower where other programs run.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # is read when torch is imported
        from projects.study.driver import measure
        from projects.study.tables import around_tables
        if args.page:
            around_tables(Path(args.page))
        measure(Path(args.out), results, args.seeds, args.runs)
    from projects.study.tables import read_results, tables, write_page
    text = tables(read_results(results))
    print(text)
    if args.page:
        write_page(Path(args.page), text)


if __name__ == '__main__':
    run(main)
