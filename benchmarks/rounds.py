"""What benchmarks share: their options, two sides in turns, a table of what came of it and JSON of the same numbers."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from sdr_mm.arguments import COUNT, Parser
from sdr_mm.cli import progress
from sdr_mm.files import atomic_write
from sdr_mm.text_table import text_table


def parser_of(text: str | None, rounds: int | None = None) -> Parser:
    """A parser with the options that all benchmarks have, and ``--rounds`` if there is a default for it."""
    parser = Parser(text)
    if rounds is not None:
        parser.add_argument('--rounds', type=COUNT, default=rounds, help='times of each side (default: %(default)s)')
    parser.add_argument('--threads', type=COUNT, help='threads of both sides (default: as torch chooses)')
    parser.add_argument('--json', metavar='FILE', help='where to write the numbers too')
    return parser


def parse(parser: Parser) -> argparse.Namespace:
    """What the command line says; sets the number of threads."""
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


@dataclass(frozen=True)
class Comparison:
    """What took how long, or how much of something else.

    Args:
        name (str): What was compared.
        ours, peer (float): Of the two sides; median times in seconds.
        ratio (float): Of ours to the peer's; of times the median over the rounds, each with the times of the same
            round, which other work on the machine slows down alike.
        target (float): What the ratio is to be at most.
        unit (str): Of ours and the peer's. Defaults to 's'.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    target: float
    unit: str = 's'

    @property
    def met(self) -> bool:
        return self.ratio <= self.target


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes, what it left to the GPU included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], peer: Callable[[], object], target: float,
            rounds: int) -> Comparison:
    """Runs both sides once to warm up and then in turns."""
    ours(), peer()
    times = [(timed(ours), timed(peer)) for _ in progress(range(rounds), desc=name)]
    return Comparison(name, median(first for first, _ in times), median(second for _, second in times),
                      median(first / second for first, second in times), target)


def report(comparisons: list[Comparison], conditions: str, file: str | None) -> None:
    """Prints the comparisons, and writes them as JSON if a file is named."""
    rows = [[one.name, f'{one.ours:.3g} {one.unit}', f'{one.peer:.3g} {one.unit}', f'{one.ratio:.2f}',
             f'{one.target:.2f}', 'met' if one.met else 'MISSED'] for one in comparisons]
    print(text_table(['', 'ours', 'peer', 'ours / peer', 'at most', 'target'], rows, left=(0, 5)))
    print(f'{conditions}, on {device()}')
    save(file, conditions, comparisons=[dict(asdict(one), met=one.met) for one in comparisons])


def device() -> str:
    """What torch computes on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f'{torch.get_num_threads()} thread(s)'


def save(file: str | None, conditions: str, /, **numbers: Any) -> None:
    """Writes what was measured as JSON, if a file is named."""
    if file:
        content = dict(conditions=conditions, device=device(), torch=torch.__version__, **numbers)
        with atomic_write(Path(file), overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n')
