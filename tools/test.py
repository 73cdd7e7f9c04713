"""Scores a trained detector on the test set of its config: AP, AP50 and AP75 in per cent, in one table.

    python tools/test.py configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py work_dirs/NAME/iter_24000.pth
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import COUNT, Parser, config_arguments, output_arguments, positive, whole
from sdr_mm.cli import is_main_process, run
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_folder, check_output


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, parents=[output_arguments(required=False), config_arguments()])
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='what tools/train.py wrote with this config')
    parser.add_argument('--work-dir', help='where to keep the log')
    parser.add_argument('--out-item', choices=['metrics', 'pred'],
                        help='what goes into FILE: the scores, as JSON, or the predictions, as a pickle NAME.pkl '
                             '(default: metrics)')
    parser.add_argument('--amp', action='store_true', help='test in mixed precision')
    parser.add_argument('--show-dir', metavar='FOLDER', help='draw the predictions into pictures there')
    parser.add_argument('--show', action='store_true', help='draw the predictions in a window')
    parser.add_argument('--interval', type=COUNT, metavar='N', help='draw each N-th image (default: as in the config)')
    parser.add_argument('--wait-time', type=positive, default=2.0, help='seconds that a picture is shown (default: 2)')
    parser.add_argument('--no-pin-memory', action='store_true', help='let the loaders pin no memory')
    parser.add_argument('--tta', action='store_true', help='is for classifiers, and refused here')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=whole(0), default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    if args.tta:
        raise InputError('--tta averages the scores of a classifier, and this tests detectors: for one of MMDetection, '
                         "'mim test mmdet' has it")
    if args.out_item and not args.out:
        raise InputError(f'--out-item {args.out_item} needs --out FILE')
    if args.out_item == 'pred' and not args.out.endswith(('.pkl', '.pickle')):
        raise InputError(f'--out {args.out}: predictions are written as a pickle, give a NAME.pkl')
    check_output(args.out, args.overwrite)
    if args.work_dir:
        check_folder(args.work_dir)
    from sdr_mm.engine.configs import load_config, use_launcher
    from sdr_mm.engine.testing import evaluate
    from sdr_mm.engine.tool_options import draw_predictions, set_loaders
    cfg = load_config(args.config, args.cfg_options)
    use_launcher(cfg, args.launcher)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    check_folder(cfg.work_dir)
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.no_pin_memory:
        set_loaders(cfg, 'pin_memory', False)
    if args.show or args.show_dir:
        draw_predictions(cfg, args.show_dir, args.show, args.wait_time, args.interval)
    predictions = args.out if args.out_item == 'pred' else None
    scores = evaluate(cfg, args.checkpoint, predictions)
    if is_main_process():
        if args.out and not predictions:
            with atomic_write(args.out, overwrite=args.overwrite) as temporary:
                temporary.write_text(json.dumps(scores, indent=1) + '\n')
        print('  '.join(f'{name.split("/")[-1]} {score:.2f}' for name, score in scores.items()))


if __name__ == '__main__':
    run(main)
