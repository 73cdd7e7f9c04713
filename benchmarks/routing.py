"""Routing of 256 sub-nets by successive halving for a task of Food-101's size, from decoded images.

    python benchmarks/routing.py                                                    on a GPU
    python benchmarks/routing.py --depth 18 --size 32 --images 2000 --classes 10    something for a CPU

Weights are random and the images are noise, since the time does not depend on what is found. Seconds mean something on
a GPU only; the passes of images through a network are those of any machine.
"""

from __future__ import annotations

import numpy as np
import torch
from networks import sdr_network
from rounds import Comparison, parse, parser_of, report, timed

import sdr_mm  # noqa: F401
from sdr_mm.arguments import COUNT, PIXELS
from sdr_mm.cli import run
from sdr_mm.evaluation import Task, stratified_splits
from sdr_mm.routing import Halving, Ranking, RoutingEvaluator, Scorer

SECONDS = 60.0
"""At most, on one GPU of the class of an H100."""

AT_MOST = 1 / 20
"""Of the images through a network one by one."""

DISTINCT = 1000
"""Images of the task that differ; more would only fill the memory."""


def noise_task(count: int, classes: int, size: int) -> Task:
    images = np.random.default_rng(0).integers(0, 256, (min(count, DISTINCT), size, size, 3), dtype=np.uint8)
    labels = np.arange(count) % classes
    return Task('noise', [str(label) for label in range(classes)], [images[i % len(images)] for i in range(count)],
                labels, stratified_splits(labels, test_fraction=0.25))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--images', type=COUNT, default=101000, help='a quarter of them to test on (default: 101000)')
    parser.add_argument('--classes', type=COUNT, default=101, help='(default: 101)')
    parser.add_argument('--size', type=PIXELS, default=224, help='side of the images in pixels (default: 224)')
    parser.add_argument('--depth', type=int, choices=(18, 34, 50, 101, 152), default=50, help='(default: 50)')
    parser.add_argument('--finalists', type=COUNT, default=4, help='sub-nets that are scored exactly (default: 4)')
    args = parse(parser)
    backbone, normalization = sdr_network(None, depth=args.depth)
    backbone.to('cuda' if torch.cuda.is_available() else 'cpu')
    evaluator = RoutingEvaluator(noise_task(args.images, args.classes, args.size), search=Halving(args.finalists),
                                 bn='task', scorer=Scorer(k=20), resize=args.size, size=args.size)
    found: list[Ranking] = []
    seconds = timed(lambda: found.append(evaluator.evaluate(backbone, normalization=normalization)))
    cost = found[0].cost
    report([Comparison('time against a minute', seconds, SECONDS, seconds / SECONDS, 1.0),
            Comparison('images through a network, against one by one', cost.passes, cost.one_by_one,
                       cost.passes / cost.one_by_one, AT_MOST, '')],
           f'{len(backbone.space)} sub-nets of a ResNet-{args.depth}, {args.images} images of {args.size} px, '
           f'{args.finalists} finalists, reading the images included', args.json)


if __name__ == '__main__':
    run(main)
