"""Two sides in turns, and what comes of it: a table, and JSON of the same numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from sdr_mm.cli import progress
from sdr_mm.files import atomic_write
from sdr_mm.text_table import text_table


@dataclass(frozen=True)
class Comparison:
    """What took how long.

    Args:
        name (str): What was compared.
        ours, peer (float): Median times of the two sides in seconds.
        ratio (float): Median over the rounds of ours to the peer's of the same round, which other work on the machine
            slows down alike.
        target (float): What the ratio is to be at most.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    target: float

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
    rows = [[one.name, f'{one.ours:.3g} s', f'{one.peer:.3g} s', f'{one.ratio:.2f}', f'{one.target:.2f}',
             'met' if one.met else 'MISSED'] for one in comparisons]
    print(text_table(['', 'ours', 'peer', 'ours / peer', 'at most', 'target'], rows, left=(0, 5)))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'{torch.get_num_threads()} thread(s)'
    print(f'{conditions}, on {device}')
    if file:
        content = dict(conditions=conditions, device=device, torch=torch.__version__,
                       comparisons=[dict(asdict(one), met=one.met) for one in comparisons])
        with atomic_write(Path(file), overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n')
