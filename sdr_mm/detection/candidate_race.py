"""Fine-tuning of candidates, the better ones further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..errors import InputError
from ..routing.result_table import duration
from .fine_tuning import COLUMNS, STATE, FineTuning, Leg
from .race import Rung, race_iterations
from .workers import Workers

PROBE = 5
"""Iterations of the first candidate after which the expected time is told."""

Say = Callable[[str], None]


@dataclass
class Candidate:
    """One network of the race.

    Args:
        name (str): As in :class:`RoutingRow`.
        folder (Path): For its backbone, state, record and logs.
        cfg (Config): Of the detector with its backbone.
        weights (str): Stands for its weights.
        bn (str): What its BN statistics come from.
        subnet (int, optional): Its index; None for a network to compare with. Defaults to None.
        record (FineTuning): What is known of it.
    """

    name: str
    folder: Path
    cfg: Config
    weights: str
    bn: str
    subnet: int | None
    record: FineTuning

    def score(self, iteration: int) -> float:
        """AP at an iteration."""
        return self.record.scores[iteration]['AP']


class CandidateRace:
    """The race itself: who is fine-tuned how far.

    Args:
        workers (Workers): Where fine-tuning runs.
        leg (Callable): Makes a :class:`Leg` from a candidate, the iteration at which to stop and whether to
            evaluate there.
        candidates (list[Candidate]): Sub-nets, in the order in which they begin.
        references (list[Candidate]): Networks to compare with, which run with the last step.
        rungs (list[Rung]): The steps.
        images (int): Images in a batch.
        held_out (int): Images of an evaluation.
        say (Callable): Is told what is going on.

    Attributes:
        last (dict[str, int]): Iteration of the last evaluation of each network, in this race.
        expected (float): Seconds on one device, as foretold.
    """

    def __init__(self, workers: Workers, leg: Callable[[Candidate, int, bool], Leg], candidates: list[Candidate],
                 references: list[Candidate], rungs: list[Rung], images: int, held_out: int, say: Say) -> None:
        self.workers, self.leg, self.say = workers, leg, say
        self.candidates, self.references, self.rungs = candidates, references, rungs
        self.images, self.held_out = images, held_out
        self.last: dict[str, int] = {}
        self.expected = 0.0

    def run(self) -> None:
        """Runs all steps.

        Raises:
            InputError: If all candidates diverge.
        """
        self._foretell()
        stay = self._alive(self.candidates)
        for number, rung in enumerate(self.rungs):
            # Fewer than the step allows, if others diverged.
            stay = stay[:rung.candidates]
            final = number == len(self.rungs) - 1
            self._to(rung.stop, stay + (self._alive(self.references) if final else []))
            stay = self._ranked(self._alive(stay), rung.stop)
            for one in [] if final else stay[self.rungs[number + 1].candidates:]:
                (one.folder / STATE).unlink(missing_ok=True)  # Its scores are known, and it does not go on.

    @staticmethod
    def _ranked(networks: list[Candidate], stop: int) -> list[Candidate]:
        return sorted(networks, key=lambda one: (-one.score(stop), one.subnet))

    def _alive(self, networks: list[Candidate]) -> list[Candidate]:
        alive = [one for one in networks if not one.record.diverged]
        if networks is not self.references and not alive:
            first = networks[0]
            raise InputError(f'all {len(self.candidates)} candidates have diverged, the last ones as {first.name} did '
                             f'({first.record.diverged}): lower optim_wrapper.optimizer.lr, or set clip_grad')
        return alive

    def _to(self, stop: int, networks: list[Candidate]) -> None:
        by_name = {one.name: one for one in networks}

        def done(leg: Leg, record: FineTuning) -> None:
            one = by_name[leg.name]
            one.record = record
            if record.diverged:
                self._say_diverged(one)
                return
            self.last[one.name] = stop
            scores = '  '.join(f'{column} {record.scores[stop][column]:.2f}' for column in COLUMNS)
            self.say(f'{one.name} at iteration {stop}: {scores}')

        self.workers.run([self.leg(one, stop, True) for one in networks], done)

    def _say_diverged(self, one: Candidate) -> None:
        self.say(f'{one.name} has diverged ({one.record.diverged}): it is left out')

    def _foretell(self) -> None:
        """Measures the first iterations, which count, and says what is to be expected."""
        images, rungs = self.images, self.rungs
        iterations = race_iterations(rungs) + len(self.references) * rungs[-1].stop
        evaluations = sum(rung.candidates for rung in rungs) + len(self.references)
        steps = ', '.join(f'{rung.candidates} to iteration {rung.stop}' for rung in rungs)
        compared = f', and {len(self.references)} to compare with' if self.references else ''
        self.say(f'{len(self.candidates)} candidates ({steps}){compared}: {iterations:,} iterations of {images} images '
                 f'and {evaluations} evaluations of {self.held_out:,}')
        for one in self.references + self.candidates:
            if one.record.diverged:
                self._say_diverged(one)
        for one in self.candidates:
            if not one.record.diverged and not one.record.per_iteration:
                (one.record, ) = self.workers.run([self.leg(one, min(PROBE, rungs[0].stop), False)])
                if one.record.diverged:
                    self._say_diverged(one)
            if not one.record.diverged:
                per_iteration, per_evaluation = one.record.per_iteration, one.record.per_evaluation
                # Each part ends with an evaluation.
                self.expected = iterations * per_iteration + evaluations * (per_evaluation + one.record.per_part)
                devices = len(self.workers.devices)
                self.say(f'{per_iteration:.2f} s an iteration, {per_evaluation:.1f} s an evaluation: expected to take '
                         f'{duration(self.expected)}' + (f' on one device, about {duration(self.expected / devices)} '
                                                         f'on {devices}' if devices > 1 else ''))
                return
