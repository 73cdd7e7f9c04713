"""Finds the best sub-net of an SDR checkpoint for a detection set, by fine-tuning for a few iterations.

    python tools/route_detection.py work_dirs/sdr/epoch_200.pth \
        --config configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py --data-root data/VOCdevkit/ \
        --work-dir work_dirs/route_voc --baseline simsiam.pth

It uses all GPUs, one network on each. The same command resumes after an interruption.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sdr_mm
from sdr_mm.arguments import COUNT, Parser, bn_arguments, config_arguments, given, image_arguments, whole
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_folder


def parser() -> Parser:
    parser = Parser(__doc__, parents=[bn_arguments(), image_arguments(), config_arguments()])
    parser.add_argument('checkpoint', help='what tools/train.py wrote with an SDR config')
    parser.add_argument('--config', required=True, help='config of the detector, one of configs/detection')
    parser.add_argument('--data-root', metavar='FOLDER', help='its data of VOC format (default: as in the config)')
    parser.add_argument('--work-dir', required=True, metavar='DIR', help='where everything is kept')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    race = parser.add_argument_group('race')
    race.add_argument('--iters', type=COUNT, help='iterations of those that stay to the end (default: 1000)')
    race.add_argument('--halving', action=argparse.BooleanOptionalAction, default=True,
                      help='all candidates to a quarter of the iterations, the best half to a half, the best quarter '
                           'to the end')
    race.add_argument('--images', type=COUNT, metavar='N',
                      help='images in a batch of a network, the learning rate is scaled with it (default: as many as '
                           'the learning rate of the config is for)')
    race.add_argument('--supernet', action=argparse.BooleanOptionalAction, default=True,
                      help='fine-tune the super-net too, to compare with')
    race.add_argument('--baseline', dest='baselines', nargs='+', default=(), metavar='FILE',
                      help="networks to compare with: checkpoints of a sub-net's size, or 'random' for random weights")
    race.add_argument('--devices', nargs='+', metavar='DEVICE',
                      help="one process on each, for example 'cuda:0 cuda:1' (default: all GPUs, or the CPU)")
    shortlist = parser.add_argument_group('candidates')
    shortlist.add_argument('--shortlist', choices=('label_free', 'knn_crops', 'all'), default='label_free',
                           help='label_free: by the clusters that the images resemble; knn_crops: by kNN on the '
                                'annotated boxes; all: no shortlist (default: label_free)')
    shortlist.add_argument('--candidates', type=COUNT, metavar='M', help='how many sub-nets it leaves (default: 8)')
    shortlist.add_argument('--subnets', type=whole(0), nargs='+', metavar='INDEX',
                           help='these sub-nets, without a shortlist')
    shortlist.add_argument('--per-cluster', type=COUNT, metavar='N', help='images of each cluster (default: 32)')
    shortlist.add_argument('--most-crops', type=whole(2), metavar='N', help='most crops of a class (default: 100)')
    shortlist.add_argument('--k', type=COUNT, help='neighbors of kNN on crops (default: 20)')
    return parser


def next_steps(args: argparse.Namespace, evaluator: Any, best: Any) -> str:
    """The commands for the full run."""
    from sdr_mm.detection.detector_config import pretrained_parts
    folder, model = evaluator.folder(best), evaluator.config.model
    options = [f'{key}={value}' for key, value in (args.cfg_options or {}).items()]
    options += [f'{part}.init_cfg.checkpoint={folder / "backbone.pth"}' for part, _ in pretrained_parts(model)]
    if 'path' in model.backbone:
        options.append(f'model.backbone.path=({",".join(map(str, best.path))})')
    words = ['python', 'tools/train.py', args.config, *(['--data', args.data_root] if args.data_root else []),
             *(['--amp'] if args.amp else []), '--work-dir', str(Path('work_dirs') / Path(args.config).stem)]
    return (f'best: {best.name}, exported to {folder / "backbone.pth"}\n'
            f'full run:  {shlex.join([*words, "--cfg-options", *options])}\n'
            f'or, to resume it from iteration {best.others["iterations"][0]:.0f}, add  '
            f'--resume {shlex.quote(str(evaluator.checkpoint(best)))}')


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        raise InputError('tools/route_detection.py starts one process for each GPU by itself: run it with python, not '
                         'with torchrun')
    check_folder(args.work_dir)
    from sdr_mm.engine.configs import load_config, use_amp, use_folder, voc_folders
    cfg = load_config(args.config, args.cfg_options)
    from sdr_mm.detection import DetectionRoutingEvaluator, Shortlist
    from sdr_mm.routing import BNReset
    if args.data_root:
        if not voc_folders(cfg):
            raise InputError(f'--data-root {args.data_root} has no use: {args.config} is not trained on a folder of '
                             f'VOC format; set data_root in the config')
        use_folder(cfg, args.data_root)
    if args.amp:
        use_amp(cfg)
    sdr = sdr_mm.load(args.checkpoint, device=args.device)
    fits = sdr.settings.but(resize=args.resize, size=args.size)
    bn = dict(mode=args.bn_reset, num_images=args.bn_images, batch_size=args.batch_size, seed=args.seed)
    evaluator = DetectionRoutingEvaluator(
        cfg, args.work_dir, halving=args.halving, supernet=args.supernet, baselines=args.baselines,
        shortlist=Shortlist(args.shortlist, **given(args, 'candidates', 'k', 'per_cluster', 'most_crops')),
        bn=BNReset(**{name: value for name, value in bn.items() if value is not None}),
        resize=fits.resize, size=fits.size, workers=args.workers,
        **given(args, 'iters', 'subnets', 'images', 'devices', 'seed', 'on_error'))
    pool = None
    if evaluator.needs_pool(len(sdr.space)):
        pool = sdr.pool(args.data, args.clusters, evaluator.needs_clusters(len(sdr.space)))
    ranking = evaluator.evaluate(sdr.backbone, pool=pool, normalization=fits.normalization)
    print(ranking.table())
    print(f'\n{next_steps(args, evaluator, ranking.best)}')


if __name__ == '__main__':
    run(main)
