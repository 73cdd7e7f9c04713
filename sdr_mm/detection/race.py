"""Which candidates are fine-tuned how far (successive halving by AP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from ..cli import progress, say
from ..errors import InputError
from .devices import Devices
from .fine_tuning import FineTuning, Part
from .voc import COLUMNS


class RaceStep(NamedTuple):
    """One step of the race: how many candidates enter, and to which iteration they are fine-tuned."""

    candidates: int
    stop: int


def race_steps(candidates: int, iters: int, halving: bool = True) -> list[RaceStep]:
    """All candidates to a quarter of the iterations, the best half to a half, the best quarter to the end.

    A step after which nobody would be eliminated is left out. Without ``halving`` all go to the end at once.
    """
    least = 4 if halving else 1
    if iters < least:
        raise InputError(f'a race{" with halving" * halving} needs --iters of at least {least}, got {iters}')
    if not halving:
        return [RaceStep(candidates, iters)]
    steps = [RaceStep(math.ceil(candidates / part), math.ceil(iters * part / 4)) for part in (1, 2, 4)]
    return [step for step, after in zip(steps, [*steps[1:], None])
            if after is None or after.candidates < step.candidates]


def race_iterations(steps: list[RaceStep]) -> int:
    """Iterations of all candidates together."""
    return sum(step.candidates * (step.stop - before) for step, before in zip(steps, [0, *(s.stop for s in steps)]))


def describe(steps: list[RaceStep]) -> str:
    """The steps in words."""
    return ', '.join(f'{step.candidates} to iteration {step.stop}' for step in steps)


@dataclass
class Candidate:
    """One network of the race: its folder, the detector with its backbone, and what is known of it."""

    name: str
    folder: Path
    cfg: Config
    subnet: int | None  # None: a network to compare with
    record: FineTuning


class Race:
    """The race itself: ``candidates`` begin in their order, in batches of ``images``.

    The ``references``, to compare with, run the same parts, all of them, and are evaluated at the end. A progress bar
    over the iterations estimates how long it takes.
    """

    def __init__(self, candidates: list[Candidate], references: list[Candidate], steps: list[RaceStep],
                 images: int, seed: int) -> None:
        self.candidates, self.references, self.steps = candidates, references, steps
        self.images, self.seed = images, seed
        self.last: dict[str, int] = {}  # iteration of the last evaluation of each network, in this race

    def run(self, devices: Devices) -> None:
        """Runs all steps, unless all candidates diverge, which is an InputError."""
        for network in self.candidates + self.references:
            if network.record.diverged:
                say(f'{network.name} has diverged ({network.record.diverged}): it is left out')
        say(f'{len(self.candidates)} candidates ({describe(self.steps)}), {len(self.references)} networks to compare '
            f'with: {self.iterations:,} iterations of {self.images} images')
        remaining, before = self._alive(self.candidates), 0
        with progress(total=self.iterations, desc='fine-tuning') as bar:
            for number, (size, stop) in enumerate(self.steps):
                final = number == len(self.steps) - 1
                remaining = remaining[:size]  # Fewer than the step allows, if others diverged.
                running = remaining + [network for network in self.references if not network.record.diverged]
                known = sum(min(max(network.record.done - before, 0), stop - before) for network in running)
                bar.initial += known  # What was done earlier does not count for the estimate.
                bar.update(known)
                devices.run([Part(network.name, network.folder, network.cfg, stop, self.images, self.seed,
                                  evaluates=final or network.subnet is not None) for network in running],
                            self._note, bar.update)
                remaining = sorted(self._alive(remaining),
                                   key=lambda network: (-network.record.scores[stop]['AP'], network.subnet))
                for network in [] if final else remaining[self.steps[number + 1].candidates:]:
                    # Its scores are known, and it does not go on.
                    network.record.checkpoint(network.folder).unlink(missing_ok=True)
                before = stop

    @property
    def iterations(self) -> int:
        """Of all networks together; nobody runs one twice."""
        return race_iterations(self.steps) + len(self.references) * self.steps[-1].stop

    def _alive(self, candidates: list[Candidate]) -> list[Candidate]:
        alive = [network for network in candidates if not network.record.diverged]
        if not alive:
            first = candidates[0]
            raise InputError(f'all {len(self.candidates)} candidates have diverged, the last ones as {first.name} did '
                             f'({first.record.diverged}): lower optim_wrapper.optimizer.lr, or set clip_grad')
        return alive

    def _note(self, part: Part, record: FineTuning) -> None:
        network = next(one for one in self.candidates + self.references if one.name == part.name)
        network.record = record
        if record.diverged:
            say(f'{part.name} has diverged ({record.diverged}): it is left out')
        elif part.evaluates:
            self.last[part.name] = part.stop
            scores = '  '.join(f'{column} {record.scores[part.stop][column]:.2f}' for column in COLUMNS)
            say(f'{part.name} at iteration {part.stop}: {scores}')
