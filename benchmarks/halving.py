"""Successive halving against the exact ranking: passes and winners, in one run.

    python -m projects.real_data animal_silhouettes wesnoth_race fluent_category --out data
    python benchmarks/halving.py data/animal_silhouettes data/wesnoth_race data/fluent_category
    python benchmarks/halving.py data/animal_silhouettes --checkpoint work_dirs/sdr256/epoch_20.pth

Without a checkpoint: 256 sub-nets of random weights, ResNet-18 of a quarter of its width, of which three
quarters are the sub-net's own.
"""

from __future__ import annotations

import numpy as np
from networks import sdr_network
from rounds import Comparison, parse, parser_of, report

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation.agreement import rank_correlation
from sdr_mm.routing import Exact, Halving, Ranking, RoutingEvaluator, Scorer, Search

AT_MOST = 1 / 20
"""Of the images through a network one by one: a twentieth."""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('tasks', nargs='+', metavar='TASK', help='folders of labeled images, or task configs')
    parser.add_argument('--checkpoint', metavar='FILE', help='an SDRNet (default: random weights)')
    parser.add_argument('--size', type=int, default=32, help='side of the images in pixels (default: 32)')
    parser.add_argument('--k', type=int, default=10, help='neighbors (default: 10)')
    parser.add_argument('--settings', nargs='+', default=['4', '16'], metavar='FINALISTS[:IMAGES]',
                        help='sub-nets that are scored exactly in the end, and images of the first step (default: 1/12 '
                             'of them, at least 768), for each run of halving (default: %(default)s)')
    parser.add_argument('--splits', type=int, default=5,
                        help='random splits of each task, over which scores are means (default: 5)')
    args = parse(parser)
    backbone, normalization = sdr_network(args.checkpoint, depth=18, stem_channels=16, base_channels=(4, 12))
    found = []
    for task in args.tasks:
        def ranked(search: Search, task: str = task) -> Ranking:
            evaluator = RoutingEvaluator(dict(source=task, splits=args.splits), search=search, bn='task',
                                         scorer=Scorer(k=args.k), resize=args.size, size=args.size)
            return evaluator.evaluate(backbone, normalization=normalization)

        exact = ranked(Exact())
        scores = [network.score for network in exact.subnets]
        splits = np.array([network.scores for network in exact.subnets])
        agreement = ''
        if splits.shape[1] > 1:
            spearman = rank_correlation(splits[:, 0], splits[:, 1:].mean(1)).spearman
            agreement = f'; one split against {splits.shape[1] - 1} others: Spearman {spearman:.2f}'
        print(f'{exact.task}: {exact.settings["images"]} images; {len(scores)} sub-nets from {scores[-1]:.2f} to '
              f'{scores[0]:.2f} %{agreement}\n'
              f'  exact            {exact.best.name:12} {scores[0]:.2f} %  {exact.cost.one_by_one:10,.0f} passes one '
              f'by one, {exact.cost.passes:9,.0f} as a tree, {exact.cost.seconds:6.1f} s')
        for setting in args.settings:
            finalists, _, first = setting.partition(':')
            halved = ranked(Halving(int(finalists), first_images=int(first) if first else None))
            rank = [network.name for network in exact.subnets].index(halved.best.name) + 1
            print(f'  halving {setting:8} {halved.best.name:12} {halved.best.score:.2f} %  {halved.cost.passes:10,.0f} '
                  f'passes, 1/{halved.cost.one_by_one / halved.cost.passes:.1f} of one by one, '
                  f'{halved.cost.seconds:6.1f} s; rank {rank} of the exact ranking, '
                  f'{scores[0] - halved.best.score:.2f} points below its winner', flush=True)
            passes = halved.cost.passes, exact.cost.one_by_one
            found.append(Comparison(f'{exact.task}, {setting} finalists', *passes, passes[0] / passes[1], AT_MOST, ''))
    report(found, f'images through a network, halving against one by one, {args.size} px', args.json)


if __name__ == '__main__':
    run(main)
