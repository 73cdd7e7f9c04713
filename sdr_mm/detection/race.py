"""How far which candidates of a detection routing are fine-tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Rung:
    """One step of the race.

    Args:
        candidates (int): How many enter.
        stop (int): To which iteration they are fine-tuned.
    """

    candidates: int
    stop: int


def race_rungs(candidates: int, iters: int, halving: bool = True) -> list[Rung]:
    """The steps of a race: all to a quarter of the iterations, the best half to a half, the best quarter to the end.

    A step after which nobody would leave is left out.

    Args:
        candidates (int): At the start.
        iters (int): Iterations of those that stay to the end.
        halving (bool): Whether anybody leaves early. Defaults to True.

    Raises:
        InputError: If there are too few iterations.
    """
    if iters < (4 if halving else 1):
        raise InputError(f'a race{" with halving" if halving else ""} needs --iters of at least '
                         f'{4 if halving else 1}, got {iters}')
    if not halving:
        return [Rung(candidates, iters)]
    steps = [Rung(math.ceil(candidates / part), math.ceil(iters * part / 4)) for part in (1, 2, 4)]
    return [step for step, after in zip(steps, [*steps[1:], None]) if after is None
            or after.candidates < step.candidates]


def race_iterations(rungs: list[Rung]) -> int:
    """Iterations of all candidates together; nobody runs one twice."""
    before, total = 0, 0
    for rung in rungs:
        total += rung.candidates * (rung.stop - before)
        before = rung.stop
    return total
