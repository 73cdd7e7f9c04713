"""Ranks all sub-nets of an SDR checkpoint for a task.

    python tools/route.py work_dirs/sdr/epoch_200.pth --task my_images --baseline simsiam.pth \
        --out routing.json --report routing.html
    python tools/route.py work_dirs/sdr/epoch_200.pth --task my_images --search halving --candidates timm:resnet50
    torchrun --nproc-per-node 8 tools/route.py …
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sdr_mm.arguments import (
    COUNT,
    Parser,
    bn_arguments,
    given,
    image_arguments,
    knn_arguments,
    output_arguments,
    search_arguments,
    whole,
)
from sdr_mm.cli import is_main_process, run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output


def parser() -> Parser:
    parser = Parser(
        __doc__,
        parents=[knn_arguments(), search_arguments(), bn_arguments(), image_arguments(),
                 output_arguments(required=False)])
    parser.add_argument('checkpoint', help='what tools/train.py wrote, or pool-r18, which ships')
    parser.add_argument('--baseline', metavar='NETWORK',
                        help='a network to compare with: a checkpoint file, timm:NAME, torchvision:NAME or '
                             'mmpretrain:NAME, with @FILE for weights of your own')
    parser.add_argument('--candidates', nargs='+', metavar='NETWORK',
                        help='more networks for the same table, written as for --baseline')
    parser.add_argument('--k', type=COUNT, nargs='+',
                        help='neighbors, one or several; the first one ranks (default: what fits the checkpoint)')
    parser.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    parser.add_argument('--report', metavar='FILE',
                        help='write a page too, such as routing.html: ranks, gains, images and the export command in '
                             'one file')
    parser.add_argument('--top', type=whole(0), default=10, help='sub-nets to print from the best down (default: 10)')
    parser.add_argument('--bottom', type=whole(0), default=3, help='sub-nets to print from the worst up (default: 3)')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    for file in (args.out, args.report):
        check_output(file, args.overwrite)
    if args.out and args.report and os.path.realpath(args.out) == os.path.realpath(args.report):
        raise InputError(f'--out and --report are both {args.out}: give two names')
    import sdr_mm
    from sdr_mm.distributed import process_group
    from sdr_mm.routing.export_command import export_command
    with process_group(args.device) as device:
        sdr = sdr_mm.load(args.checkpoint, device)
        ranking = sdr.route(
            args.task, bn=args.bn_reset or 'cluster', splits=args.splits, temperature=args.temperature,
            workers=args.workers,
            **given(args, 'search', 'scores', 'k', 'metric', 'linear', 'baseline', 'candidates', 'resize', 'size',
                    'seed', 'data', 'clusters', 'data_root', 'on_error', 'finalists', 'screen_bn', 'first_images',
                    'per_cluster', 'share_prefixes', 'bn_images', 'batch_size'))
        if is_main_process():
            if args.out:
                ranking.save(args.out, overwrite=args.overwrite)
            print(ranking.table(args.top, args.bottom))
            if args.report:
                sdr.report(ranking, args.report, routing=args.out, workers=args.workers, overwrite=args.overwrite,
                           **given(args, 'data', 'clusters'))
                print(f'\nwritten to {args.report}: open it in a browser')
            if args.out:
                command = export_command(ranking, args.checkpoint, routing=args.out,
                                         **given(args, 'data', 'clusters'))
                print(f'\nwritten to {args.out}; next: {command}')


if __name__ == '__main__':
    run(main)
