"""Extracts the features of a data set with a pre-trained ResNet, for tools/cluster.py.

    python tools/extract_features.py simsiam.pth --data photos --out features
    torchrun --nproc_per_node 8 tools/extract_features.py simsiam.pth --config configs/sdr_simsiam.py --out features
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sdr_mm import cli
from sdr_mm.arguments import COUNT, PIXELS, WORKERS, Parser
from sdr_mm.files import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('checkpoint', help='ResNet of SimSiam, or any other of MMPretrain or torchvision')
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--config', help='config whose train_dataloader has the data set')
    data.add_argument('--data', metavar='FOLDER', help='folder of images')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder to write')
    parser.add_argument('--resize', type=PIXELS,
                        help='short side in pixels (default: what the checkpoint says, or 256)')
    parser.add_argument('--size', type=PIXELS,
                        help='center crop in pixels (default: what the checkpoint says, or 224)')
    parser.add_argument('--batch-size', type=COUNT, default=64, help='images in a forward (default: %(default)s)')
    parser.add_argument('--workers', type=WORKERS, default=2,
                        help='threads that decode, per rank (default: %(default)s)')
    parser.add_argument('--on-error', choices=('stop', 'skip'), default='stop',
                        help='what to do about an image that cannot be decoded (default: %(default)s)')
    parser.add_argument('--labels-from-folders', action='store_true', help='the first sub-folder is the class')
    parser.add_argument('--half', action='store_true', help='store float16')
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--overwrite', action='store_true', help='replace features that are there')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    check_output(args.out, args.overwrite, holds='features.npy')
    from sdr_mm.clustering import extract_features
    from sdr_mm.datasets.build import dataset_of_config
    from sdr_mm.datasets.image_folder import ImageFolder
    from sdr_mm.distributed import process_group
    from sdr_mm.images import read_rgb
    from sdr_mm.models.backbone import pool_features
    from sdr_mm.models.checkpoints import load_resnet

    with process_group(args.device) as device:
        network, info = load_resnet(args.checkpoint)
        settings = info['settings'].but(resize=args.resize, size=args.size)
        dataset, read = (ImageFolder(args.data), read_rgb) if args.data else dataset_of_config(args.config)
        features = extract_features(
            network, dataset, args.out, pool=pool_features, normalization=settings.normalization,
            resize=settings.resize, size=settings.size, read=read, batch_size=args.batch_size, workers=args.workers,
            device=device, on_error=args.on_error, half=args.half, labels_from_folders=args.labels_from_folders,
            overwrite=args.overwrite, source={'checkpoint': args.checkpoint, 'network': info['config']})
    if cli.is_main_process():
        skipped = features.meta['undecodable']
        print(f'{args.out}: {features.array.shape[0]} images of {settings.size} pixels (short side '
              f'{settings.resize}), {features.array.shape[1]} features each')
        if skipped:
            names = ', '.join(image['name'] for image in skipped[:3]) + (', …' if len(skipped) > 3 else '')
            print(f'skipped {len(skipped)} images that cannot be decoded: {names}')


if __name__ == '__main__':
    cli.run(main)
