"""All sub-nets as a tree of prefixes against one by one: times, passes and ranking, in one run.

    python benchmarks/prefix_sharing.py --task FOLDER
    python benchmarks/prefix_sharing.py --task FOLDER --checkpoint work_dirs/sdr/epoch_200.pth --size 32

Without a checkpoint: 256 ResNet-50 sub-nets of random weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from networks import sdr_network
from rounds import Comparison, parse, parser_of, report

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import Task, stratified_splits
from sdr_mm.routing import BNReset, Exact, RoutingEvaluator, Scorer

AT_MOST = 1 / 3
"""Of the time one by one: three times as fast."""


def part_of(task: Task, count: int) -> Task:
    """``count`` images of a task, chosen at random, split again."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(task.paths))[:count])
    common = [label for label in np.unique(task.labels[chosen]) if (task.labels[chosen] == label).sum() > 1]
    chosen = chosen[np.isin(task.labels[chosen], common)]
    labels = np.searchsorted(common, task.labels[chosen])
    return replace(task, classes=[task.classes[label] for label in common], labels=labels, groups=None,
                   paths=[task.paths[index] for index in chosen], splits=stratified_splits(labels))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--task', required=True, metavar='FOLDER', help='labeled images, CLASS/…')
    parser.add_argument('--checkpoint', metavar='FILE', help='an SDRNet (default: random weights, ResNet-50)')
    parser.add_argument('--images', type=int, default=60, help='images of the task (default: 60)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: 64)')
    args = parse(parser)
    backbone, normalization = sdr_network(args.checkpoint)
    task = part_of(Task.from_folder(args.task), args.images)
    results = {}
    for name, share in (('one by one', False), ('tree of prefixes', True)):
        evaluator = RoutingEvaluator(task, search=Exact(share), bn=BNReset('task', batch_size=100), scorer=Scorer(k=5),
                                     resize=args.size, size=args.size)
        results[name] = evaluator.evaluate(backbone, normalization=normalization)
    alone, tree = results['one by one'], results['tree of prefixes']
    same = [network.name for network in alone.networks] == [network.name for network in tree.networks]
    scores = all(network.scores == tree.network(network.name).scores  # type: ignore[union-attr]
                 for network in alone.networks)
    if not (same and scores):
        raise RuntimeError('the tree ranks otherwise than one by one')
    passes, seconds = ((getattr(tree.cost, unit), getattr(alone.cost, unit)) for unit in ('passes', 'seconds'))
    report([Comparison('images through a network', *passes, passes[0] / passes[1], AT_MOST, ''),
            Comparison('time of the tree against one by one', *seconds, seconds[0] / seconds[1], AT_MOST)],
           f'{len(alone.subnets)} sub-nets, {len(task.paths)} images of {task.name}, {args.size} px, the same ranking '
           'and scores', args.json)


if __name__ == '__main__':
    run(main)
