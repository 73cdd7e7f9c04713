"""Says which tasks are ready, and for the others which files are missing and where to get them.

    python tools/check_tasks.py                                          # all of configs/tasks
    python tools/check_tasks.py configs/tasks/dtd.py --data-root /datasets
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdr_mm.arguments import Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.text_table import text_table

if TYPE_CHECKING:
    from sdr_mm.evaluation import TaskConfig

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'tasks'


def check(config: TaskConfig) -> tuple[str, list[str]]:
    """State of a task and lines that explain it. Only a task that can be loaded is ready."""
    missing = config.missing()
    if missing:
        return 'missing', [f'{config.data_root} lacks {", ".join(missing)}',
                           *([f'get it from {config.source}'] if config.source else [])]
    try:
        task = config.load()
    except InputError as error:
        return 'unusable', [str(error)]
    split = task.splits[0]
    val = 'no' if split.val is None else f'{len(split.val):,}'
    return 'ready', [f'{len(split.train):,} train, {val} val, {len(split.test):,} test, {len(task.classes)} classes, '
                     f'{task.metric}']


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('configs', nargs='*', metavar='CONFIG', help='configs of tasks (default: all of configs/tasks)')
    parser.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets (default: data)')
    args = parser.parse_args(argv)

    from sdr_mm.evaluation import TaskConfig
    files = args.configs or sorted(str(path) for path in CONFIGS.glob('*.py'))
    configs = [TaskConfig.from_file(file, args.data_root) for file in files]
    rows: list[tuple[str, str, str]] = []
    for config in configs:
        state, (line, *more) = check(config)
        rows += [(config.name, state, line), *(('', '', text) for text in more)]
    print(text_table(('task', 'state', ''), rows, left=(0, 1, 2)))
    ready = sum(state == 'ready' for _, state, _ in rows)
    print(f'{ready} of {len(configs)} ready')
    if ready < len(configs):
        sys.exit(1)


if __name__ == '__main__':
    run(main)
