"""Training time of 4, 16, 64 and 256 sub-nets against the SimSiam baseline, in one run: the paper's Table 4.

    python benchmarks/training_time.py --threads 1
    python benchmarks/training_time.py --depth 50 --size 224 --batch-size 32 --amp

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
from pathlib import Path
from statistics import median

import numpy as np
import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from rounds import timed
from torch.utils.flop_counter import FlopCounterMode

from sdr_mm.cli import progress, run
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.engine.configs import load_config, use_amp
from sdr_mm.engine.subnet_step_hook import SubnetStepHook
from sdr_mm.engine.training import build_runner
from sdr_mm.space import SUPERNET, SubnetSpace
from sdr_mm.text_table import text_table

CONFIGS = Path(__file__).parents[1] / 'configs/small'
PAPER_HOURS = {1: 260, 4: 370, 16: 400, 64: 460, 256: 500}
"""Table 4: GPU hours by the number of sub-nets; the one is the baseline."""
SUBNET_STEPS = ('sub-net', 'sub-net without teacher')


def supernet_share(space: SubnetSpace) -> float:
    """How often the whole training draws the super-net, by Algorithm 1."""
    schedule = PhaseSchedule(space, num_iters=space.num_blocks + 1)
    return float(np.mean([1 / (1 + schedule.num_subnets(phase)) for phase in range(schedule.num_phases)]))


class Training:
    """The model and the optimizer of a config on one batch of noise.

    Args:
        blocks (int, optional): Routed stages, the last ones; None is the baseline.
        args (Namespace): Of the command line.
        work_dir (str): For what a runner writes.
    """

    def __init__(self, blocks: int | None, args: argparse.Namespace, work_dir: str) -> None:
        features = 512 if args.depth < 50 else 2048
        backbone = 'model.backbone.'
        # Projector and predictor are to the features as in the recipe for ResNet-50.
        options = {backbone + 'depth': args.depth, backbone + 'stem_channels': 64, 'model.neck.hid_channels': features,
                   'model.neck.out_channels': features, 'model.head.predictor.in_channels': features,
                   'model.head.predictor.hid_channels': features // 4, 'model.head.predictor.out_channels': features,
                   'log_level': 'ERROR'}
        if blocks is None:
            options |= {backbone + 'base_channels': 64, 'model.neck.in_channels': features}
        else:
            options |= {backbone + 'base_channels': (52, 12), backbone + 'routed_blocks': tuple(range(4 - blocks, 4))}
        cfg = load_config(str(CONFIGS / f'{"" if blocks is None else "sdr_"}simsiam_resnet18_b64-15e_32px.py'), options)
        if args.amp:
            use_amp(cfg)
        cfg.work_dir = work_dir
        self.runner: Runner = build_runner(cfg)
        self.runner.optim_wrapper = self.runner.build_optim_wrapper(cfg.optim_wrapper)
        self.runner.model.train()
        self.hook = None if blocks is None else SubnetStepHook()
        self.distillation = getattr(self.runner.model, 'distillation', None)
        self.views = [torch.randint(0, 256, (args.batch_size, 3, args.size, args.size), dtype=torch.uint8)
                      for _ in range(2)]

    def step(self, network: int = SUPERNET, distill: bool = True) -> None:
        """One iteration, as the training loop does it."""
        self.runner.model.distillation = self.distillation if distill else None
        samples = [DataSample(metainfo=dict(network=network)) for _ in self.views[0]]
        batch = dict(inputs=self.views, data_samples=samples)
        if self.hook is not None:
            self.hook.before_train_iter(self.runner, 0, batch)
        self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)


def multiply_adds(step: Callable[[], None]) -> float:
    """Of all matrix products and convolutions, backward ones included; FlopCounterMode counts each as two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def measure(args: argparse.Namespace, work_dir: str) -> None:
    columns = {4**blocks: blocks for blocks in range(1, 5) if 4**blocks in args.subnets}
    spaces = {count: SubnetSpace(4, blocks) for count, blocks in columns.items()}
    baseline = Training(None, args, work_dir)
    trainings = {count: Training(blocks, args, work_dir) for count, blocks in columns.items()}
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
    rows = [['1', '', '', '', '', '1.00', '1.00', '1.00', '1.00', '1.00']]
    for count, space in spaces.items():
        share = supernet_share(space)
        # Time and multiply-adds, with and without the teacher.
        whole = [(share * part[count, 'super-net'] + (1 - share) * part[count, name]) / part[1, 'baseline']
                 for name in SUBNET_STEPS for part in (ratios, work)]
        parts = [ratios[count, name] for name in ('super-net', *SUBNET_STEPS)]
        rows.append([str(count), f'{share:.1%}',
                     *(f'{value:.2f}' for value in (*parts, *whole, PAPER_HOURS[count] / PAPER_HOURS[1]))])
    print(text_table(['sub-nets', 'super-net drawn', 'step of super-net', 'of sub-net', 'without teacher',
                      'training', 'multiply-adds', 'without teacher', 'multiply-adds', "paper's hours"], rows, left=()))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'{torch.get_num_threads()} thread(s)'
    print(f'times the SimSiam baseline of ResNet-{args.depth}, {args.size} px, batches of {args.batch_size}, '
          f'{"mixed precision, " * args.amp}whose step takes {median(times[1, "baseline"]):.3g} s and '
          f'{work[1, "baseline"] / 1e9:,.1f} G multiply-adds; medians of {args.rounds} rounds on {device}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', type=int, choices=(18, 34, 50, 101, 152), default=18, help='(default: 18)')
    parser.add_argument('--size', type=int, default=32, help='side of the images in pixels (default: 32)')
    parser.add_argument('--batch-size', type=int, default=64, help='(default: 64)')
    parser.add_argument('--subnets', type=int, nargs='+', choices=(4, 16, 64, 256), default=(4, 16, 64, 256),
                        help='(default: 4 16 64 256)')
    parser.add_argument('--rounds', type=int, default=10, help='steps of each kind (default: 10)')
    parser.add_argument('--amp', action='store_true', help='mixed precision, which needs a GPU')
    parser.add_argument('--threads', type=int, help='threads of torch')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as work_dir:
        measure(args, work_dir)


if __name__ == '__main__':
    run(main)
