"""The linear probe of this package against scikit-learn's: scores and times on the same features, in one run.

    python benchmarks/linear.py data/fluent_category data/sweet_home data/wesnoth_race --network resnet18.pth --size 32

Without a network: a ResNet-18 of PyTorch's seeded initial weights, 512 features. Both take float64 features, the same
threads, the 45 l2 weights of the protocol, the validation choice, and the last fit; scikit-learn goes
from each weight's solution to the next one's, at most 1000 steps and with its own tolerance, as ssl-transfer does.
"""

from __future__ import annotations

import argparse

import torch
import torchvision

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import linear_probe, load_task, task_features
from sdr_mm.models.checkpoints import IMAGENET_MEAN, IMAGENET_STD
from sdr_mm.models.zoo import Network, load_network


def random_network() -> Network:
    """A ResNet-18 that nobody trained."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18()
    module.fc = torch.nn.Identity()
    return Network('random ResNet-18', module.eval(), IMAGENET_MEAN, IMAGENET_STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tasks', nargs='+', metavar='TASK', help='folders of labelled images, or task configs')
    parser.add_argument('--network', help='as tools/linear_eval.py takes it (default: a ResNet-18 of random weights)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: 64)')
    parser.add_argument('--threads', type=int, help='threads of torch; scikit-learn takes OMP_NUM_THREADS')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    network = load_network(args.network) if args.network else random_network()
    for place in args.tasks:
        task = load_task(place)
        features, task = task_features(network.module, task, mean=network.mean, std=network.std, resize=args.size,
                                       size=args.size)
        found = {
            solver: linear_probe(features, task.labels, task.splits[0], metric=task.metric,
                                 num_classes=len(task.classes), solver=solver, groups=task.groups)
            for solver in ('torch', 'sklearn')
        }
        ours, theirs = found['torch'], found['sklearn']
        print(f'{task.name}: {len(task.paths)} images, {features.shape[1]} features, {len(task.classes)} classes: '
              f'{ours.score:.2f} % (l2 {ours.l2:.3g}), scikit-learn {theirs.score:.2f} % (l2 {theirs.l2:.3g}), '
              f'difference {ours.score - theirs.score:+.2f}; {ours.seconds:.1f} s against {theirs.seconds:.1f} s, '
              f'{theirs.seconds / ours.seconds:.1f} times as fast; fits above the tolerance: {ours.unconverged} and '
              f'{theirs.unconverged} of {len(ours.val_scores) + 1}', flush=True)


if __name__ == '__main__':
    run(main)
