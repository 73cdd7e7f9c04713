"""Training time of 4, 16, 64 and 256 sub-nets against the SimSiam baseline, in one run: the paper's Table 4.

    python benchmarks/training_time.py --threads 1
    python benchmarks/training_time.py --depth 50 --size 224 --batch-size 32 --amp bfloat16

Times a training step of the baseline, of the super-net, and of a random sub-net with its teacher, in turns and on
images in memory, and adds them up in the shares of Algorithm 1: phases of equal length, each network as often as any
other of its phase. The multiply-adds of the same steps are counted beside it. A faster recipe leaves out the teacher,
``model.distillation=None``. Where images are few or small a step is mostly work on the weights, which it is not in the
paper.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from statistics import median

import numpy as np
from rounds import device, parse, parser_of, save, timed
from torch.utils.flop_counter import FlopCounterMode
from trainings import Training, add_options, described, kind_of

from sdr_mm.cli import progress, run
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.space import SubnetSpace
from sdr_mm.text_table import text_table

PAPER_HOURS = {1: 260, 4: 370, 16: 400, 64: 460, 256: 500}
"""Table 4: GPU hours by the number of sub-nets; the one is the baseline."""
SUBNET_STEPS = ('sub-net', 'sub-net without teacher')
COLUMNS = ['sub-nets', 'super-net drawn', 'step of super-net', 'of sub-net', 'without teacher', 'training',
           'multiply-adds', 'training without teacher', 'multiply-adds of that', "paper's hours"]
TARGETS = {'training': 1.92, 'training without teacher': 1.6}
"""Times of the baseline that 256 sub-nets are to take at most."""


def supernet_share(space: SubnetSpace) -> float:
    """How often the whole training draws the super-net, by Algorithm 1."""
    schedule = PhaseSchedule(space, num_iters=space.num_blocks + 1)
    return float(np.mean([1 / (1 + schedule.num_subnets(phase)) for phase in range(schedule.num_phases)]))


def multiply_adds(step: Callable[[], None]) -> float:
    """Of all matrix products and convolutions, backward ones included; FlopCounterMode counts each as two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def measure(args: argparse.Namespace, work_dir: str) -> None:
    columns = {4**blocks: blocks for blocks in range(1, 5) if 4**blocks in args.subnets}
    spaces = {count: SubnetSpace(4, blocks) for count, blocks in columns.items()}
    kind = kind_of(args)
    baseline = Training(None, work_dir, **kind)
    trainings = {count: Training(blocks, work_dir, **kind) for count, blocks in columns.items()}
    steps: dict[tuple[int, str], Callable[[], None]] = {(1, 'baseline'): baseline.step}
    random = np.random.default_rng(0)
    for count, training in trainings.items():
        steps[count, 'super-net'] = training.step
        for name in SUBNET_STEPS:
            steps[count, name] = lambda training=training, count=count, name=name: training.step(  # type: ignore[misc]
                int(random.integers(count)), distill=name == SUBNET_STEPS[0])
    work = {name: multiply_adds(step) for name, step in progress(steps.items(), desc='counting')}
    times: dict[tuple[int, str], list[float]] = {name: [] for name in steps}
    for _ in progress(range(args.rounds), desc='timing'):
        for name, step in steps.items():
            times[name].append(timed(step))
    # The median of the ratios to the baseline of the same round, which other work on the machine slows down alike.
    ratios = {name: median(value / base for value, base in zip(values, times[1, 'baseline']))
              for name, values in times.items()}
    rows, numbers = [['1', *[''] * 4, *['1.00'] * 5]], {}
    for count, space in spaces.items():
        share = supernet_share(space)
        # Time and multiply-adds, with and without the teacher.
        whole = [(share * part[count, 'super-net'] + (1 - share) * part[count, name]) / part[1, 'baseline']
                 for name in SUBNET_STEPS for part in (ratios, work)]
        values = [*(ratios[count, name] for name in ('super-net', *SUBNET_STEPS)), *whole,
                  PAPER_HOURS[count] / PAPER_HOURS[1]]
        numbers[count] = dict(zip(COLUMNS[1:], [share, *values]))
        rows.append([str(count), f'{share:.1%}', *(f'{value:.2f}' for value in values)])
    print(text_table(COLUMNS, rows, left=()))
    conditions = (f'times the SimSiam baseline of {described(args)}, whose step takes '
                  f'{median(times[1, "baseline"]):.3g} s and {work[1, "baseline"] / 1e9:,.1f} G multiply-adds; medians '
                  f'of {args.rounds} rounds')
    print(f'{conditions}, on {device()}')
    for name, target in TARGETS.items():
        if 256 in numbers:
            ratio = numbers[256][name]
            print(f'256 sub-nets, {name}: {ratio:.2f}, at most {target:.2f}: {"met" if ratio <= target else "MISSED"}')
    save(args.json, conditions, trainings=numbers)


def main() -> None:
    parser = parser_of(__doc__, rounds=10)
    add_options(parser, depth=18, size=32, batch_size=64)
    parser.add_argument('--subnets', type=int, nargs='+', choices=(4, 16, 64, 256), default=(4, 16, 64, 256),
                        help='(default: 4 16 64 256)')
    args = parse(parser)
    with tempfile.TemporaryDirectory() as work_dir:
        measure(args, work_dir)


if __name__ == '__main__':
    run(main)
