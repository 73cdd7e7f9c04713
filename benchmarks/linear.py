"""The linear probe against scikit-learn on the same features, cores and protocol, in one run.

    python benchmarks/linear.py data/fluent_category data/animal_silhouettes data/fluent_fine
    python benchmarks/linear.py data/fluent_category --depth 50
    python benchmarks/linear.py data/fluent_category --network resnet50.pth --size 224

Without --network the features are those of a ResNet of seeded random weights, which anybody can make.

scikit-learn runs twice: as in ssl-transfer, with its tolerance of 1e-4 and 1000 steps, which leave small l2 weights
far from their optimum, where the score depends on the solver's way; and until its gradients are as small as ours,
entry for entry, on centered features, which help it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from rounds import Comparison, parse, parser_of, report
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.evaluation import METRICS, Task, load_task, task_features
from sdr_mm.evaluation._logistic import fit_logistic
from sdr_mm.evaluation.linear import BALANCE, L2_GRID, LAST_BALANCE, LinearResult, choosing, linear_probe
from sdr_mm.models.backbone import build_plain
from sdr_mm.models.zoo import Network, load_network


def random_network(depth: int, base_channels: int) -> Network:
    """A ResNet as PyTorch initializes it. Under MMPretrain's initialization each residual branch begins as zero."""
    torch.manual_seed(0)
    network = build_plain(dict(type='mmpretrain.ResNet', depth=depth, base_channels=base_channels,
                               stem_channels=base_channels))
    return Network(f'a random ResNet-{depth} of base width {base_channels}', network)


def probe(task: Task, features: np.ndarray, solver: str) -> LinearResult:
    """The whole protocol: 45 l2 weights, choice on validation images, last fit."""
    return linear_probe(features, task.labels, task.splits[0], metric=task.metric, num_classes=len(task.classes),
                        solver=solver, groups=task.groups)


def largest_gradients(features: np.ndarray, labels: np.ndarray, l2: Sequence[float], balance: float) -> list[float]:
    """Largest entry of the gradient of scikit-learn's objective where our fits end, for each l2 weight."""
    values, target = torch.from_numpy(features), torch.nn.functional.one_hot(torch.from_numpy(labels))
    fit = fit_logistic(values, labels, l2, balance=balance)
    found = []
    for weight, scores, coefficients in zip(l2, fit.scores(values), fit.coefficients()[0]):
        away = scores.softmax(1) - target
        gradient = away.T @ values + weight * coefficients
        found.append(max(float(gradient.abs().max()), float(away.sum(0).abs().max())) / len(labels))
    return found


def converged(task: Task, features: np.ndarray, steps: int) -> tuple[float, float, float, int]:
    """The same with scikit-learn, when each fit goes on until the gradient is as small as ours, entry for entry.

    The features are centered, which leaves the optima what they are and lets scikit-learn get there far
    sooner.

    Returns:
        tuple: Score, l2, seconds, and how many fits have still not converged.
    """
    split, labels, metric = task.splits[0], task.labels, METRICS[task.metric]
    train, held_out = choosing(split, task.groups)
    both, test = split.scoring()
    centered = features.astype(np.float64) - features[both].mean(0, dtype=np.float64)
    gradients = largest_gradients(centered[train], labels[train], L2_GRID, BALANCE)
    start = time.perf_counter()
    model = LogisticRegression(max_iter=steps, warm_start=True)
    val_scores = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for l2, gradient in zip(L2_GRID, gradients):
            model.set_params(C=1 / l2, tol=gradient).fit(centered[train], labels[train])
            val_scores.append(metric(model.decision_function(centered[held_out]), labels[held_out]))
        l2 = L2_GRID[int(np.argmax(val_scores))]
        seconds = time.perf_counter() - start
        gradient, = largest_gradients(centered[both], labels[both], [l2], LAST_BALANCE)
        start = time.perf_counter()
        model.set_params(C=1 / l2, tol=gradient).fit(centered[both], labels[both])
        score = metric(model.decision_function(centered[test]), labels[test])
    unconverged = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return score, l2, seconds + time.perf_counter() - start, unconverged


def show(name: str, score: float, l2: float, seconds: float, unconverged: int) -> None:
    fits = f'{unconverged} of {len(L2_GRID) + 1} fits ran out of steps' if unconverged else ''
    print(f'  {name:34} {score:6.2f}  l2 = {l2:<9.4g} {seconds:8.2f} s  {fits}'.rstrip(), flush=True)


def compare(folder: str, network: Network, args: argparse.Namespace) -> Comparison:
    """Prints the lines of a task, and compares the times at the same convergence."""
    task = load_task(folder)
    if task.multi_label or len(task.classes) == 2:
        raise InputError(f'{task.name}: this benchmark takes tasks of three classes or more and one label an image')
    found, task = task_features(network.module, task, normalization=network.settings.normalization,
                                resize=args.size, size=args.size, batch_size=100)
    features = found.numpy()
    train, test = task.splits[0].scoring()
    print(f'{task.name}: {len(task.classes)} classes, {len(train)} training and {len(test)} test images, '
          f'{features.shape[1]} features of {network.name}, {args.size} px; {task.metric} in %')
    ours = probe(task, features, 'torch')
    show('ours', ours.score, ours.l2, ours.seconds, ours.unconverged)
    score, l2, seconds, unconverged = converged(task, features, args.steps)
    show('scikit-learn, as converged as ours', score, l2, seconds, unconverged)
    theirs = probe(task, features, 'sklearn')
    show('scikit-learn as in ssl-transfer', theirs.score, theirs.l2, theirs.seconds, theirs.unconverged)
    print(f'  {seconds / ours.seconds:.1f} times as fast as scikit-learn at the same convergence, score '
          f'{ours.score - score:+.2f} points; {theirs.seconds / ours.seconds:.1f} times as fast as in ssl-transfer, '
          f'score {ours.score - theirs.score:+.2f} points', flush=True)
    return Comparison(f'{task.name}, scores {ours.score:.2f} and {score:.2f}', ours.seconds, seconds,
                      ours.seconds / seconds, 1.0)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('tasks', nargs='+', metavar='TASK', help='folders of labeled images, or configs')
    parser.add_argument('--network', help='a checkpoint of a ResNet, timm:NAME, … (default: random weights)')
    parser.add_argument('--depth', type=int, default=18,
                        help='of the random ResNet; 50 gives 2048 features (default: 18)')
    parser.add_argument('--base-channels', type=int, default=64, help='width of the random ResNet (default: 64)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: 64)')
    parser.add_argument('--steps', type=int, default=20000,
                        help='most steps of a fit of scikit-learn that is to converge (default: 20000)')
    args = parse(parser)
    network = load_network(args.network) if args.network else random_network(args.depth, args.base_channels)
    with threadpool_limits(torch.get_num_threads()):
        found = [compare(folder, network, args) for folder in args.tasks]
    report(found, f'{len(L2_GRID)} l2 weights, against scikit-learn at the same convergence', args.json)


if __name__ == '__main__':
    run(main)
