"""A compiled backbone against an eager one: training steps of ResNet-50 sub-nets, another path in each, in one run.

    python benchmarks/compiled.py --amp bfloat16
    python benchmarks/compiled.py --depth 18 --size 32 --batch-size 16 --rounds 5 --threads 1

The steps are those of SimSiam with its distillation, in channels-last, so each has passes of the sub-net and of the
super-net that teaches. All sub-nets share one graph: a round that compiled again would be slower by minutes. The
target is one for GPUs.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
from rounds import Comparison, compare, parse, parser_of, report
from torch._dynamo.utils import counters
from trainings import Training, add_options, described, kind_of

from sdr_mm.cli import run
from sdr_mm.engine.compiling import compile_backbones

AT_MOST = 1 / 1.3
"""Of the eager time: 1.3 times as fast."""


def measure(args: argparse.Namespace, work_dir: str) -> list[Comparison]:
    eager, compiled = (Training(4, work_dir, **kind_of(args)) for _ in range(2))
    compile_backbones(compiled.runner.model, {})
    random = np.random.default_rng(0)

    def step(training: Training) -> None:
        training.step(int(random.integers(256)))

    name = f'ResNet-{args.depth}'
    step(compiled)
    before = counters['stats']['unique_graphs']
    found = [compare(f'{name}, step of a sub-net', lambda: step(compiled), lambda: step(eager), AT_MOST, args.rounds)]
    if (again := counters['stats']['unique_graphs'] - before) > 0:
        raise RuntimeError(f'{again} graphs were compiled for other paths')
    found.append(compare(f'{name}, step of the super-net', compiled.step, eager.step, AT_MOST, args.rounds))
    return found


def main() -> None:
    parser = parser_of(__doc__, rounds=20)
    add_options(parser, depth=50, size=224, batch_size=64)
    args = parse(parser)
    with tempfile.TemporaryDirectory() as work_dir:
        found = measure(args, work_dir)
    report(found, f'{described(args)}, channels-last, medians of {args.rounds} rounds', args.json)


if __name__ == '__main__':
    run(main)
