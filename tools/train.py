"""Trains a config: the SimSiam baseline, an SDRNet, or a detector on one of their backbones.

    python tools/train.py configs/sdr_simsiam.py --data FOLDER --clusters clusters.npz

After SIGTERM or SIGINT (Ctrl-C) it finishes the iteration, saves a checkpoint and ends with status 75, which means:
start me again with --resume. A second signal ends it at once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config

from sdr_mm.arguments import COUNT, Parser, config_arguments, whole
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_folder


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__, parents=[config_arguments()])
    parser.add_argument('config', help='config file')
    parser.add_argument('--data', metavar='FOLDER',
                        help='images, flat or nested, in place of those of the config; for a detector its VOC data')
    parser.add_argument('--clusters', metavar='FILE', help='clusters.npz of these images, from tools/cluster.py')
    parser.add_argument('--epochs', type=COUNT, metavar='N', help='length of the training and of its learning rates')
    parser.add_argument('--on-error', choices=['stop', 'skip'], help='at an image that cannot be decoded')
    parser.add_argument('--work-dir', help='where to keep logs and checkpoints')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='continue from this checkpoint, or from the newest whole one in the work directory')
    parser.add_argument('--init-from', metavar='CHECKPOINT',
                        help="start from a trained ResNet of anybody's, of a sub-net's size: every sub-net is its copy")
    parser.add_argument('--amp', action='store_true',
                        help="mixed precision, in float16 unless the config's optim_wrapper.dtype is 'bfloat16'")
    parser.add_argument('--compile', action='store_true', help='compile the backbone')
    parser.add_argument('--profile', nargs='?', const=True, type=COUNT, metavar='N',
                        help='record a few iterations after the first N of this run: a trace, and a table in the log '
                             '(default: 20)')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate a detector while it is trained')
    parser.add_argument('--no-pin-memory', action='store_true', help='let the loaders pin no memory')
    parser.add_argument('--no-persistent-workers', action='store_true',
                        help='let the loaders start their processes anew in each epoch')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torchrun of old passed the rank as an argument; launch scripts of users still may.
    parser.add_argument('--local_rank', '--local-rank', type=whole(0), default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def configure(args: argparse.Namespace) -> Config:
    """The config with the command line's changes."""
    from sdr_mm.engine import configs, tool_options
    cfg = configs.load_config(args.config, args.cfg_options)
    configs.use_launcher(cfg, args.launcher)
    if args.work_dir or not cfg.get('work_dir'):
        cfg.work_dir = args.work_dir or str(Path('work_dirs') / Path(args.config).stem)
    if args.epochs is not None:
        configs.use_epochs(cfg, args.epochs)
    if args.data:
        configs.use_folder(cfg, args.data)
    detector = configs.is_detector(cfg)
    if detector and (args.on_error or args.clusters):
        raise InputError(f'--{"on-error" if args.on_error else "clusters"} is for pre-training, and {args.config} '
                         'trains a detector: leave it out')
    if args.clusters:
        configs.use_clusters(cfg, args.clusters)
    if (args.on_error or args.data) and not detector:
        configs.use_on_error(cfg, args.on_error)
    if args.init_from:
        configs.use_init_from(cfg, args.init_from)
    if args.amp:
        configs.use_amp(cfg)
    if args.compile:
        configs.use_compile(cfg)
    if args.profile:
        configs.use_profile(cfg, None if args.profile is True else args.profile)
    if args.auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get('auto_scale_lr') or dict(base_batch_size=256), enable=True)
    if args.no_validate:
        tool_options.leave_out_validation(cfg)
    if args.no_pin_memory:
        tool_options.set_loaders(cfg, 'pin_memory', False)
    if args.no_persistent_workers:
        tool_options.set_loaders(cfg, 'persistent_workers', False)
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def main() -> None:
    args = parse_args()
    if args.work_dir:
        check_folder(args.work_dir)
    from sdr_mm.engine.training import train
    train(configure(args), guard=True)


if __name__ == '__main__':
    run(main)
