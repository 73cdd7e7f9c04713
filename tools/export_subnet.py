"""Writes a sub-net for the library that it is used in: as a plain ResNet, a graph, or a folder for Hugging Face.

    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --path 0,3,1,2 --out resnet50.pth
    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --routing routing.json --out resnet50.pth
    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --routing routing.json --format onnx --out resnet50.onnx
    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --routing routing.json --format huggingface --out resnet50
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from sdr_mm.arguments import FORMATS, Parser, bn_arguments, given, image_arguments, output_arguments, whole
from sdr_mm.cli import run
from sdr_mm.errors import InputError


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
    group = parser.add_argument_group('format')
    group.add_argument('--format', choices=FORMATS, default='mmpretrain',
                       help='mmpretrain and mmdet: the same file, which the other tools read too; torchvision, timm: a '
                            'state dict; onnx, torch.export: from normalized images to pooled features; huggingface: '
                            'a folder (default: mmpretrain)')
    group.add_argument('--card', metavar='FILE', help='write a model card in Markdown too; a folder has one anyway')
    group.add_argument('--license', metavar='TEXT',
                       help='license of the weights for the card, an SPDX identifier or a text (default: not stated)')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    import sdr_mm
    from sdr_mm.export import how_to_load
    from sdr_mm.export.formats import check_outputs
    from sdr_mm.routing import Ranking
    check_outputs(args.out, args.format, args.card, args.overwrite)
    which = (Ranking.load(args.routing).best if args.routing else
             args.subnet if args.path is None else parse_path(args.path))
    sdr = sdr_mm.load(args.checkpoint, args.device)
    net = sdr.subnet(which, bn=args.bn_reset, workers=args.workers,
                     **given(args, 'task', 'data', 'clusters', 'resize', 'size', 'on_error', 'bn_images', 'batch_size',
                             'seed'))
    net.export(args.out, args.format, card=args.card, license=args.license, overwrite=args.overwrite)

    exported = net.exported()
    kind = net.config['type'].rpartition('.')[2]
    title = f'{kind}-{net.config["depth"]}' if 'depth' in net.config else kind
    print(f'sub-net {net.index}, path {",".join(map(str, net.path))}: {title} with '
          f'{exported.num_parameters / 1e6:.3f}M parameters, BN statistics: {net.bn}')
    print(f'written to {args.out}' + (f', with the model card {args.card}' if args.card else ''))
    (library, lines), *_ = how_to_load(exported, args.format, args.out).items()
    print(f'{library} loads it with\n{indent(lines, "  ")}')


if __name__ == '__main__':
    run(main)
