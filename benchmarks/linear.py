"""The linear probe against scikit-learn on the same features, cores and protocol, in one run.

    python benchmarks/linear.py data/fluent_category data/animal_silhouettes data/fluent_fine
    python benchmarks/linear.py data/fluent_category --depth 50
    python benchmarks/linear.py data/fluent_category --network resnet50.pth --size 224

Without --network the features are those of a ResNet of seeded random weights, which anybody can make.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import METRICS, Task, load_task, task_features
from sdr_mm.evaluation.linear import L2_GRID, MAX_ITER, LinearResult, last_tol, linear_probe
from sdr_mm.models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, build_resnet
from sdr_mm.models.zoo import Network, load_network


def random_network(depth: int, base_channels: int) -> Network:
    """A ResNet as PyTorch initialises it. Under MMPretrain's initialisation each residual branch begins as zero."""
    torch.manual_seed(0)
    network = build_resnet(dict(depth=depth, base_channels=base_channels, stem_channels=base_channels))
    return Network(f'random ResNet-{depth} of base width {base_channels}', network, IMAGENET_MEAN, IMAGENET_STD)


def probe(task: Task, features: np.ndarray, solver: str) -> LinearResult:
    """The whole protocol: 45 l2 weights, choice on validation images, last fit."""
    return linear_probe(features, task.labels, task.splits[0], metric=task.metric, num_classes=len(task.classes),
                        solver=solver, groups=task.groups)


def converged(task: Task, features: np.ndarray, l2: float, steps: int) -> tuple[np.ndarray, bool]:
    """What scikit-learn says about the test images when its fit of one l2 may go on until it has converged.

    The features are centred, which leaves the optimum what it is and lets scikit-learn get there.
    """
    train, test = task.splits[0].scoring()
    features = features.astype(np.float64) - features[train].mean(0, dtype=np.float64)
    two = len(task.classes) == 2
    model = LogisticRegression(C=(2 if two else 1) / l2, tol=last_tol(l2, len(train)), max_iter=steps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        model.fit(features[train], task.labels[train])
    scores = model.decision_function(features[test])
    scores = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
    return scores, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def show(name: str, score: float, seconds: float, l2: float, unconverged: int) -> None:
    stopped = f'{unconverged} of {len(L2_GRID) + 1} fits stopped at {MAX_ITER} steps, before they had converged'
    print(f'  {name:33} {score:6.2f}  {seconds:7.2f} s  l2 = {l2:<9.4g} '
          f'{stopped if unconverged else "all fits converged"}', flush=True)


def compare(folder: str, network: Network, args: argparse.Namespace) -> float:
    task = load_task(folder)
    assert not task.multi_label, 'this benchmark is for tasks of one label an image'
    found, task = task_features(network.module, task, mean=network.mean, std=network.std, resize=args.size,
                                size=args.size, batch_size=100)
    features = found.numpy()
    train, test = task.splits[0].scoring()
    print(f'{task.name}: {len(task.classes)} classes, {len(train)} training and {len(test)} test images, '
          f'{features.shape[1]} features of a {network.name}, {args.size} px; {task.metric} in %')
    ours = probe(task, features, 'torch')
    show('ours', ours.score, ours.seconds, ours.l2, ours.unconverged)
    theirs = probe(task, features, 'sklearn')
    show('scikit-learn', theirs.score, theirs.seconds, theirs.l2, theirs.unconverged)
    centred = probe(task, features - features[train].mean(0), 'sklearn')
    show('scikit-learn on centred features', centred.score, centred.seconds, centred.l2, centred.unconverged)
    start = time.perf_counter()
    scores, done = converged(task, features, ours.l2, args.steps)
    reference = METRICS[task.metric](scores, task.labels[test])
    other = int((scores.argmax(1) != ours.test_scores.argmax(1)).sum())
    seconds, state = time.perf_counter() - start, '' if done else f', not converged after {args.steps} steps either'
    print(f'  {"scikit-learn at our l2, converged":33} {reference:6.2f}  {seconds:7.2f} s  last fit only{state}')
    ratio = theirs.seconds / ours.seconds
    print(f'  {ratio:.1f} times as fast as scikit-learn ({centred.seconds / ours.seconds:.1f} on centred features); '
          f'score {ours.score - reference:+.2f} points from the converged fit, {other} of {len(test)} predictions '
          f'differ; {ours.score - theirs.score:+.2f} points from scikit-learn as it is', flush=True)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tasks', nargs='+', metavar='TASK', help='folders of labelled images, or configs')
    parser.add_argument('--network', help='a checkpoint of a ResNet, timm:NAME, … (default: random weights)')
    parser.add_argument('--depth', type=int, default=18,
                        help='of the random ResNet; 50 gives 2048 features (default: 18)')
    parser.add_argument('--base-channels', type=int, default=64, help='width of the random ResNet (default: 64)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: 64)')
    parser.add_argument('--steps', type=int, default=20000,
                        help='most steps of the reference that is to converge (default: 20000)')
    parser.add_argument('--threads', type=int, help='threads of both sides')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    network = load_network(args.network) if args.network else random_network(args.depth, args.base_channels)
    with threadpool_limits(torch.get_num_threads()):
        ratios = [compare(folder, network, args) for folder in args.tasks]
    print(f'{torch.get_num_threads()} thread(s); the protocol with {len(L2_GRID)} l2 weights is '
          f'{", ".join(f"{ratio:.1f}" for ratio in ratios)} times as fast as with scikit-learn')


if __name__ == '__main__':
    run(main)
