"""All sub-nets as a tree of prefixes against one by one: times, passes and ranking, in one run.

    python benchmarks/prefix_sharing.py --task FOLDER
    python benchmarks/prefix_sharing.py --task FOLDER --checkpoint work_dirs/sdr/epoch_200.pth --size 32

Without a checkpoint: 256 ResNet-50 sub-nets of random weights.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from networks import sdr_network

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import Task, stratified_splits
from sdr_mm.routing import BNReset, Exact, RoutingEvaluator, Scorer


def part_of(task: Task, count: int) -> Task:
    """``count`` images of a task, chosen at random, split again."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(task.paths))[:count])
    common = [label for label in np.unique(task.labels[chosen]) if (task.labels[chosen] == label).sum() > 1]
    chosen = chosen[np.isin(task.labels[chosen], common)]
    labels = np.searchsorted(common, task.labels[chosen])
    return replace(task, classes=[task.classes[label] for label in common], labels=labels, groups=None,
                   paths=[task.paths[index] for index in chosen], splits=stratified_splits(labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', required=True, metavar='FOLDER', help='labeled images, CLASS/…')
    parser.add_argument('--checkpoint', metavar='FILE', help='an SDRNet (default: random weights, ResNet-50)')
    parser.add_argument('--images', type=int, default=60, help='images of the task (default: 60)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: 64)')
    parser.add_argument('--threads', type=int, help='threads of torch')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    backbone, normalization = sdr_network(args.checkpoint)
    task = part_of(Task.from_folder(args.task), args.images)
    results = {}
    for name, share in (('one by one', False), ('tree of prefixes', True)):
        evaluator = RoutingEvaluator(task, search=Exact(share), bn=BNReset('task', batch_size=100), scorer=Scorer(k=5),
                                     resize=args.size, size=args.size)
        results[name] = evaluator.evaluate(backbone, normalization=normalization)
        cost = results[name].cost
        print(f'{name:17} {cost.passes:9,.0f} images through a network  {cost.seconds:7.1f} s')
    alone, tree = results['one by one'], results['tree of prefixes']
    same = [network.name for network in alone.networks] == [network.name for network in tree.networks]
    scores = all(network.scores == tree.network(network.name).scores  # type: ignore[union-attr]
                 for network in alone.networks)
    fewer, faster = alone.cost.passes / tree.cost.passes, alone.cost.seconds / tree.cost.seconds
    print(f'{len(alone.subnets)} sub-nets, {len(task.paths)} images of {task.name}, {args.size} px: the tree takes '
          f'1/{fewer:.2f} of the passes and 1/{faster:.2f} of the time; ranking '
          f'{"the same" if same else "NOT the same"}, scores {"equal" if scores else "NOT equal"}')


if __name__ == '__main__':
    run(main)
