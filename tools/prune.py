"""Prunes a ResNet by magnitude to the size of a narrower one: the lottery-ticket baseline of the paper's Table 3.

    python tools/prune.py work_dirs/simsiam_supernet-size/epoch_200.pth --out ticket.pth
    python tools/prune.py work_dirs/simsiam_supernet-size/epoch_200.pth --out resnet50.pth --structured

As in the paper single weights become zero, and the network stays as wide as it was. With --structured whole channels
are left out, and what remains is a plain ResNet of --base-channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdr_mm.arguments import COUNT, Parser, given, image_arguments, output_arguments, whole
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output


def parser() -> Parser:
    parser = Parser(__doc__, parents=[image_arguments(), output_arguments(required=True)])
    parser.add_argument('checkpoint', help='a ResNet, whoever published it')
    parser.add_argument('--base-channels', type=COUNT, default=64,
                        help='width of the ResNet that has as many parameters as shall be left: that of a sub-net '
                             '(default: %(default)s)')
    parser.add_argument('--structured', action='store_true', help='leave out channels in place of single weights')
    parser.add_argument('--stem-channels', type=COUNT, help='with --structured (default: as many as there are)')
    group = parser.add_argument_group('BN reset')
    group.add_argument('--data', metavar='FOLDER',
                       help='measure the BN statistics again on these images, as those of sub-nets are (default: keep '
                            'those of the whole network)')
    group.add_argument('--bn-images', type=whole(2), help='most images to measure on (default: 2000)')
    group.add_argument('--batch-size', type=whole(2), help='images in a batch (default: 200)')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.stem_channels is not None and not args.structured:
        raise InputError('--stem-channels is for --structured: leave it out')
    check_output(args.out, args.overwrite)
    from pathlib import Path

    from sdr_mm.api import bn_reset, image_files
    from sdr_mm.distributed import choose_device
    from sdr_mm.images import ImageStore
    from sdr_mm.models.checkpoints import load_resnet
    from sdr_mm.models.pruning import narrower, num_parameters, prune_channels, prune_weights
    from sdr_mm.routing.bn_reset import BNImages
    from sdr_mm.routing.subnet import export_subnet

    network: Any
    network, info = load_resnet(args.checkpoint)
    config, settings = info['config'], info['settings'].but(resize=args.resize, size=args.size)
    total = sum(parameter.numel() for parameter in network.parameters())
    target = narrower(config, args.base_channels, args.stem_channels)
    parameters = num_parameters(target)
    if args.structured:
        network, config = prune_channels(network, target), target
    else:
        prune_weights(network, parameters)
    nonzero = sum(int(parameter.count_nonzero()) for parameter in network.parameters())
    source, count = 'own', 0
    if args.data:
        reset = bn_reset('task', given(args, 'bn_images', 'batch_size', 'seed'))
        store = ImageStore(image_files(args.data), resize=settings.resize, size=settings.size, workers=args.workers,
                           **given(args, 'on_error'))
        network.to(choose_device(args.device))
        _, count = reset.apply(network, BNImages(store, store.read_all()), None, settings.normalization, bar=True)
        source = 'pool'
    mean, std = (list(values) for values in settings.normalization)
    export_subnet(network, args.out, config=config, overwrite=args.overwrite, meta=dict(
        pruned_checkpoint=Path(args.checkpoint).name, pruning='channels' if args.structured else 'weights',
        bn_reset=dict(statistics=source, images=count), mean=mean, std=std, settings=settings.record()))

    print(f'{Path(args.checkpoint).name}: ResNet-{config["depth"]} with {total:,} parameters, pruned to the '
          f'{parameters:,} of base width {args.base_channels}; {nonzero:,} are not zero\n'
          f'written to {args.out}: base_channels={config["base_channels"]}, stem_channels={config["stem_channels"]}, '
          f'BN statistics: {source}')


if __name__ == '__main__':
    run(main)
