"""Writes a sub-net as a plain ResNet checkpoint for MMPretrain, MMDetection, torchvision and timm.

    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --path 0,3,1,2 --out resnet50.pth
    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --routing routing.json --out resnet50.pth
"""

from __future__ import annotations

from collections.abc import Sequence

from sdr_mm.arguments import Parser, bn_arguments, given, image_arguments, output_arguments, whole
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output


def parse_path(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(group) for group in text.split(','))
    except ValueError:
        raise InputError(f'a path is written as its groups, for example 0,3,1,2, got {text!r}') from None


def parser() -> Parser:
    parser = Parser(__doc__, parents=[bn_arguments(), image_arguments(), output_arguments(required=True)])
    parser.add_argument('checkpoint', help='what tools/train.py wrote, or pool-r18, which ships')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--path', help='groups of the sub-net, block by block, for example 0,3,1,2')
    which.add_argument('--subnet', type=whole(0), help='index of the sub-net')
    which.add_argument('--routing', metavar='FILE',
                       help='what tools/route.py --out wrote: the best sub-net, BN statistics as it was ranked with')
    parser.add_argument('--task', metavar='TASK', help='for --bn-reset task: folder or config of the task')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    check_output(args.out, args.overwrite)
    import sdr_mm
    from sdr_mm.routing import Ranking
    which = (Ranking.load(args.routing).best if args.routing else
             args.subnet if args.path is None else parse_path(args.path))
    sdr = sdr_mm.load(args.checkpoint, args.device)
    net = sdr.subnet(which, bn=args.bn_reset, workers=args.workers,
                     **given(args, 'task', 'data', 'clusters', 'resize', 'size', 'on_error', 'bn_images', 'batch_size',
                             'seed'))
    net.export(args.out, overwrite=args.overwrite)

    millions = sum(parameter.numel() for parameter in net.network.parameters()) / 1e6
    shape = ', '.join(f'{key}={net.config[key]}' for key in ('depth', 'base_channels', 'stem_channels')
                      if key in net.config)
    kind = net.config['type'].rpartition('.')[2]
    title = f'{kind}-{net.config["depth"]}' if 'depth' in net.config else kind
    print(f'sub-net {net.index}, path {",".join(map(str, net.path))}: {title} with {millions:.3f}M parameters, '
          f'BN statistics: {net.bn}\nwritten to {args.out}; every key loads in\n'
          f'  backbone=dict(type={kind!r}, {shape},\n'
          f"                init_cfg=dict(type='Pretrained', checkpoint={args.out!r}))")


if __name__ == '__main__':
    run(main)
