"""Scores a trained detector on the test set of its config: AP, AP50 and AP75 in per cent, in one table.

    python tools/test.py configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py work_dirs/NAME/iter_24000.pth
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import Parser, config_arguments, output_arguments, whole
from sdr_mm.cli import is_main_process, run
from sdr_mm.files import atomic_write, check_folder, check_output


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, parents=[output_arguments(required=False), config_arguments()])
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='what tools/train.py wrote with this config')
    parser.add_argument('--work-dir', help='where to keep the log')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=whole(0), default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    check_output(args.out, args.overwrite)
    if args.work_dir:
        check_folder(args.work_dir)
    from sdr_mm.engine.configs import load_config, use_launcher
    from sdr_mm.engine.testing import evaluate
    cfg = load_config(args.config, args.cfg_options)
    use_launcher(cfg, args.launcher)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    check_folder(cfg.work_dir)
    scores = evaluate(cfg, args.checkpoint)
    if is_main_process():
        if args.out:
            with atomic_write(args.out, overwrite=args.overwrite) as temporary:
                temporary.write_text(json.dumps(scores, indent=1) + '\n')
        print('  '.join(f'{name.split("/")[-1]} {score:.2f}' for name, score in scores.items()))


if __name__ == '__main__':
    run(main)
