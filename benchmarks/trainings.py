"""Steps of the SimSiam baseline and of an SDRNet, as the training loop takes them, on images in memory."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from sdr_mm.arguments import COUNT, PIXELS, Parser
from sdr_mm.engine.configs import load_config, use_amp
from sdr_mm.engine.subnet_step_hook import SubnetStepHook
from sdr_mm.engine.training import build_runner
from sdr_mm.space import SUPERNET

CONFIGS = Path(__file__).parents[1] / 'configs/small'


def add_options(parser: Parser, depth: int, size: int, batch_size: int) -> None:
    """Adds those of a training, with these defaults."""
    parser.add_argument('--depth', type=int, choices=(18, 34, 50, 101, 152), default=depth,
                        help='of the ResNet (default: %(default)s)')
    parser.add_argument('--size', type=PIXELS, default=size,
                        help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--batch-size', type=COUNT, default=batch_size, help='images of a step (default: %(default)s)')
    parser.add_argument('--amp', choices=('float16', 'bfloat16'), help='mixed precision; a training needs a GPU for it')


class Training:
    """The model and the optimizer of a config on one batch of noise.

    Args:
        blocks (int, optional): Routed stages, the last ones; None is the baseline.
        work_dir (str): For what a runner writes.
        depth (int): Of the ResNet.
        size (int): Side of the images in pixels.
        batch_size (int): Images of a step.
        amp (str, optional): The type of mixed precision, which needs a GPU. Defaults to None, without.
        **changes: What else to change in the config.
    """

    def __init__(self, blocks: int | None, work_dir: str, *, depth: int, size: int, batch_size: int,
                 amp: str | None = None, **changes: Any) -> None:
        features = 512 if depth < 50 else 2048
        backbone = 'model.backbone.'
        # Projector and predictor are to the features as in the recipe for ResNet-50.
        options = {backbone + 'depth': depth, backbone + 'stem_channels': 64, 'model.neck.hid_channels': features,
                   'model.neck.out_channels': features, 'model.head.predictor.in_channels': features,
                   'model.head.predictor.hid_channels': features // 4, 'model.head.predictor.out_channels': features,
                   'log_level': 'ERROR'}
        if blocks is None:
            options |= {backbone + 'base_channels': 64, 'model.neck.in_channels': features}
        else:
            options |= {backbone + 'base_channels': (52, 12), backbone + 'routed_blocks': tuple(range(4 - blocks, 4))}
        cfg = load_config(str(CONFIGS / f'{"" if blocks is None else "sdr_"}simsiam_resnet18_b64-15e_32px.py'),
                          {**options, **changes})
        if amp:
            cfg.optim_wrapper.dtype = amp
            use_amp(cfg)
        cfg.work_dir = work_dir
        self.runner: Runner = build_runner(cfg)
        self.runner.optim_wrapper = self.runner.build_optim_wrapper(cfg.optim_wrapper)
        self.runner.model.train()
        self.hook = None if blocks is None else SubnetStepHook()
        self.distillation = getattr(self.runner.model, 'distillation', None)
        self.views = [torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8) for _ in range(2)]

    def step(self, network: int = SUPERNET, distill: bool = True) -> None:
        """One iteration, as the training loop does it."""
        self.runner.model.distillation = self.distillation if distill else None
        samples = [DataSample(metainfo=dict(network=network)) for _ in self.views[0]]
        batch = dict(inputs=self.views, data_samples=samples)
        if self.hook is not None:
            self.hook.before_train_iter(self.runner, 0, batch)
        self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)


def kind_of(args: Namespace) -> dict[str, Any]:
    """What a :class:`Training` is to be, from the options of the command line."""
    return dict(depth=args.depth, size=args.size, batch_size=args.batch_size, amp=args.amp)


def described(args: Namespace) -> str:
    """The same in words."""
    return f'ResNet-{args.depth}, {args.size} px, batches of {args.batch_size}{f", {args.amp}" if args.amp else ""}'
