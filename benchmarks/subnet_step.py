"""A sub-net inside the super-net against the plain ResNet that it is: passes and optimizer steps, in one run.

    python benchmarks/subnet_step.py --threads 1
    python benchmarks/subnet_step.py --size 224 --batch-size 64 --channels-last --amp bfloat16

Both sides have the same weights and batch. A sub-net copies its channels out of the super-net's weights, and its
gradients into theirs; its optimizer step may move nothing else.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext

import numpy as np
import torch
from mmpretrain.engine.optimizers import LARS
from rounds import Comparison, compare, parse, parser_of, report
from torch import nn
from trainings import add_options, described

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.engine.subnet_optim_wrapper import confined, selection_of
from sdr_mm.models import SDRResNet
from sdr_mm.models.sliced import subnet_state_dict
from sdr_mm.registry import MODELS

# Of the images that a plain network takes in a second, a sub-net is to take as good as all.
PASSES, STEP = 1 / 0.97, 1.3
OPTIMIZERS = dict(
    SGD=lambda parameters: torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4),
    LARS=lambda parameters: LARS(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-6))


def measure(args: argparse.Namespace, device: torch.device) -> list[Comparison]:
    torch.manual_seed(0)
    model = SDRResNet(args.depth)
    plain: nn.Module = MODELS.build(model.subnet_config())
    random = np.random.default_rng(0)
    plain.load_state_dict(subnet_state_dict(model, model.space.path(0)))
    images = torch.randn(args.batch_size, 3, args.size, args.size, device=device)
    if args.channels_last:
        model, plain, images = (part.to(memory_format=torch.channels_last) for part in (model, plain, images))
    for network in (model, plain):
        network.to(device).train()

    def passes(network: nn.Module, *path: tuple[int, ...]) -> None:
        network.zero_grad()
        with torch.autocast(device.type, getattr(torch, args.amp)) if args.amp else nullcontext():
            loss = network(images, *path)[-1].square().mean()
        loss.backward()

    def path() -> tuple[int, ...]:
        return model.space.path(int(random.integers(len(model.space))))

    name = f'ResNet-{args.depth}'
    found = [compare(f'{name}, forward and backward', lambda: passes(model, path()), lambda: passes(plain), PASSES,
                     args.rounds)]
    passes(model)  # Every parameter has a gradient then.
    for title, make in OPTIMIZERS.items():
        whole, reference = make(model.parameters()), make(plain.parameters())
        whole.step()  # Every parameter has its momentum then.

        def step(whole: torch.optim.Optimizer = whole) -> None:
            with confined(whole, selection_of(model, path())):
                whole.step()

        found.append(compare(f'{name}, step of {title}', step, reference.step, STEP, args.rounds))
    return found


def main() -> None:
    parser = parser_of(__doc__, rounds=10)
    add_options(parser, depth=50, size=64, batch_size=32)
    parser.add_argument('--channels-last', action='store_true', help='memory format of weights and images')
    args = parse(parser)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    report(measure(args, device),
           f'{described(args)}, {"channels-last, " * args.channels_last}medians of {args.rounds} rounds', args.json)


if __name__ == '__main__':
    run(main)
