"""Runs mutated input through every tool, and names each case that is neither a success nor one clear line.

    make fuzz
    PYTHONPATH=.:tests/helpers python -m fuzz --cases 2000 --seed 7
    PYTHONPATH=.:tests/helpers python -m fuzz --only images:31 --seed 7 --keep /tmp/case
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import numpy as np  # noqa: E402

from fuzz.cases import KINDS, Base  # noqa: E402
from fuzz.runner import Case, Verdict, run_cases, warm_up  # noqa: E402
from sdr_mm.cli import progress  # noqa: E402
from sdr_mm.text_table import text_table  # noqa: E402


def numbers(cases: int) -> list[tuple[str, int]]:
    """So many cases in all or a few more, each kind by its weight."""
    total = sum(weight for _, weight in KINDS.values())
    return [(kind, number) for kind, (_, weight) in KINDS.items()
            for number in range(math.ceil(cases * weight / total))]


def make_cases(base: Base, wanted: list[tuple[str, int]], seed: int) -> Iterator[tuple[Case, Path]]:
    """The cases, each a function of the seed, its kind and its number, with a folder of its own."""
    for kind, number in wanted:
        make, _ = KINDS[kind]
        random = np.random.default_rng([seed, list(KINDS).index(kind), number])
        folder = base.folder(f'{kind}{number:04d}')
        yield make(base, number, folder, random), folder


def fuzz(root: Path, wanted: list[tuple[str, int]], seed: int, jobs: int) -> list[Verdict]:
    """Runs the cases below ``root``, with a progress bar."""
    warm_up()
    base = Base(root)
    return list(progress(run_cases(make_cases(base, wanted, seed), jobs), len(wanted), 'cases'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=int, default=1000, help='how many (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='at a time (default: one a core)')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    parser.add_argument('--only', metavar='KIND:NUMBER', help='one case')
    parser.add_argument('--verbose', action='store_true', help='print how every case ended')
    parser.add_argument('--keep', metavar='FOLDER', help='where to keep the files of the cases that show a fault')
    args = parser.parse_args()
    wanted = [case for case in numbers(args.cases) if case[0] in args.kinds]
    if args.only:
        kind, _, number = args.only.partition(':')
        wanted = [(kind, int(number))]
    with tempfile.TemporaryDirectory(prefix='fuzz-') as temporary:
        verdicts = fuzz(Path(args.keep or temporary).resolve(), wanted, args.seed, args.jobs)
    if args.verbose:
        for verdict in verdicts:
            print(f'{verdict.case.kind}:{verdict.case.number} {verdict.verdict}: {verdict.case.what}',
                  *verdict.text.splitlines()[-1:], sep='\n    ')
    faults = [verdict for verdict in verdicts if verdict.fault]
    for verdict in sorted(faults, key=lambda verdict: (verdict.case.kind, verdict.verdict, verdict.case.number)):
        case = verdict.case
        print(f'--- {case.kind}:{case.number} {verdict.verdict}: {case.what}\n{verdict.text}')
    counts = Counter((verdict.case.kind, 'fault' if verdict.fault else verdict.verdict) for verdict in verdicts)
    rows = [[kind, *(str(counts[kind, column]) for column in ('fine', 'clear', 'fault'))] for kind in args.kinds]
    rows.append(['all', *(str(sum(map(int, column))) for column in list(zip(*rows))[1:])])
    print(text_table(['kind', 'success', 'one clear line', 'fault'], rows))
    sys.exit(bool(faults))


if __name__ == '__main__':
    main()
