"""Ranks all sub-nets of an SDR checkpoint for a task.

    python tools/route.py work_dirs/sdr/epoch_200.pth --task my_images --baseline simsiam.pth --out routing.json
    python tools/route.py work_dirs/sdr/epoch_200.pth --task my_images --search halving --candidates timm:resnet50
    torchrun --nproc-per-node 8 tools/route.py …
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mmengine.dist import is_main_process

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.routing import RoutingEvaluator, load_pool, load_sdr
from sdr_mm.routing.arguments import (
    bn_arguments,
    check_output,
    given,
    image_arguments,
    knn_arguments,
    output_arguments,
    search_arguments,
    start,
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[knn_arguments(), search_arguments(), bn_arguments(), image_arguments(),
                 output_arguments(required=False)])
    parser.add_argument('checkpoint', help='what tools/train.py wrote')
    parser.add_argument('--baseline', metavar='NETWORK',
                        help='a network to compare with: a checkpoint file, timm:NAME, torchvision:NAME or '
                             'mmpretrain:NAME, with @FILE for weights of your own')
    parser.add_argument('--candidates', nargs='+', default=(), metavar='NETWORK',
                        help='more networks for the same table, written as for --baseline')
    parser.add_argument('--k', type=int, nargs='+', default=[200],
                        help='neighbors, one or several; the first one ranks (default: 200)')
    parser.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    parser.add_argument('--top', type=int, default=10, help='sub-nets to print from the best down (default: 10)')
    parser.add_argument('--bottom', type=int, default=3, help='sub-nets to print from the worst up (default: 3)')
    args = parser.parse_args(argv)

    check_output(args.out, args.overwrite)
    evaluator = RoutingEvaluator(
        args.task,
        baseline=args.baseline,
        candidates=args.candidates,
        k=args.k,
        temperature=args.temperature,
        splits=args.splits,
        workers=args.workers,
        **given(args, 'metric', 'search', 'scores', 'finalists', 'screen_bn', 'first_images', 'per_cluster',
                'share_prefixes', 'linear', 'data_root', 'bn_reset', 'bn_images', 'batch_size', 'resize', 'size',
                'seed', 'on_error'))
    device = start(args.device)
    backbone, info = load_sdr(args.checkpoint)
    pool = None
    if evaluator.needs_pool:
        pool = load_pool(info, backbone, data=args.data, clusters=args.clusters,
                         need_clusters=evaluator.needs_clusters)

    def say(text: str) -> None:
        if is_main_process():
            print(text, file=sys.stderr)

    result = evaluator.evaluate(backbone.to(device), pool=pool, mean=info.mean, std=info.std, say=say)
    if is_main_process():
        print(result.table(args.top, args.bottom))
        if args.out:
            result.save(args.out, overwrite=args.overwrite)
            print(f'\nwritten to {args.out}; next: python tools/export_subnet.py {args.checkpoint} '
                  f'--routing {args.out} --out {result.best.name.replace(" ", "_")}.pth')


if __name__ == '__main__':
    run(main)
