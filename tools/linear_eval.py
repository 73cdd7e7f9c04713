"""Linear accuracy of a frozen network on a task, by the many-shot protocol of ssl-transfer.

    python tools/linear_eval.py resnet50.pth --task my_images
    python tools/linear_eval.py timm:resnet50 --task configs/tasks/dtd.py --out linear.json
    torchrun --nproc-per-node 8 tools/linear_eval.py …

Images are resized to 224 and cropped to 224, as there; --resize 256 is what the paper's appendix says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from mmengine.dist import is_main_process

import sdr_mm  # noqa: F401
from sdr_mm.cli import progress, run
from sdr_mm.evaluation.cells import RESIZE
from sdr_mm.evaluation.linear import L2_GRID, MAX_ITER, SOLVERS, TOL, linear_probe
from sdr_mm.files import atomic_write
from sdr_mm.routing.arguments import image_arguments, output_arguments, task_arguments
from sdr_mm.routing.network_on_task import network_arguments, network_on_task


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[network_arguments(), task_arguments(), image_arguments(str(RESIZE['linear'])),
                 output_arguments(required=False)])
    parser.add_argument('--solver', choices=SOLVERS, default='torch',
                        help='torch: all l2 weights at once; sklearn: the reference, one after another '
                             '(default: torch)')
    parser.add_argument('--l2', type=float, nargs='+', default=list(L2_GRID), metavar='WEIGHT',
                        help='weights of the penalty, 1 / C, in the order in which they are tried '
                             '(default: 45 from 1e-6 to 1e5)')
    parser.add_argument('--tol', type=float, default=TOL, help=f'tolerance of the gradient (default: {TOL:g})')
    parser.add_argument('--val-scores', action='store_true',
                        help='print the score on the validation images for each l2')
    args = parser.parse_args(argv)

    found = network_on_task(args, resize=RESIZE['linear'])
    task = found.task
    if not is_main_process():
        return
    results = [
        linear_probe(found.features, task.labels, split, metric=task.metric, num_classes=len(task.classes), l2=args.l2,
                     solver=args.solver, tol=args.tol, groups=task.groups)
        for split in progress(task.splits, desc='linear')
    ]

    train, test = found.counts
    print(found.headline('linear probe', f'solver {args.solver}'))
    for result in results:
        print(f'{result.score:.2f} with l2 = {result.l2:.4g} (C = {1 / result.l2:.4g}), the best of {len(args.l2)} on '
              f'validation images ({result.val_scores[result.l2]:.2f}); {result.seconds:.1f} s')
        if args.val_scores:
            for l2, score in result.val_scores.items():
                print(f'  l2 = {l2:<10.4g} {score:6.2f}  {result.iterations[l2]:4} steps')
        if result.unconverged:
            print(f'  {result.unconverged} of {len(args.l2) + 1} fits did not reach their tolerance in {MAX_ITER} '
                  f'steps')
    scores = [result.score for result in results]
    if len(results) > 1:
        print(f'{np.mean(scores):.2f} ± {np.std(scores):.2f} over {len(results)} splits')
    if args.out:
        settings = dict(network=args.network, metric=task.metric, solver=args.solver, tol=args.tol, **found.sizes,
                        train=train, test=test, skipped=found.skipped)
        splits = [
            dict(score=result.score, l2=result.l2, unconverged=result.unconverged, seconds=result.seconds,
                 val_scores=[dict(l2=l2, score=score, iterations=result.iterations[l2])
                             for l2, score in result.val_scores.items()]) for result in results
        ]
        with atomic_write(args.out, overwrite=args.overwrite) as temporary:
            temporary.write_text(json.dumps(dict(task=task.name, settings=settings, splits=splits), indent=1) + '\n',
                                 encoding='utf-8')


if __name__ == '__main__':
    run(main)
