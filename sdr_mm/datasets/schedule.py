"""Which network each iteration trains: phases and draws (Algorithm 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..permutation import uniform
from ..space import SUPERNET, SubnetSpace

# The draws of one iteration come from different hashes.
_SUPERNET_DRAW, _NETWORK_DRAW = 1, 2


@dataclass(frozen=True)
class PhaseSchedule:
    """Draws a network per iteration as a pure function of (seed, iteration).

    Phase ``p`` samples from the super-net and ``space.phase(p)``, the sub-nets that differ in the last ``p`` blocks
    only, so that there are ``num_blocks + 1`` phases. By default they are equally long and each iteration draws
    uniformly from the network space, the super-net being one network among the others: Algorithm 1 taken literally.

    Args:
        space (SubnetSpace): The sub-nets.
        num_iters (int): Iterations of the whole training. Later ones stay in the last phase.
        supernet_prob (float, optional): Draws the super-net with this probability, and else uniformly among the
            sub-nets of the phase. Phase 0 has the super-net alone in any case. Defaults to None, the uniform draw.
        joint (bool): Every iteration trains the super-net on a batch of the whole data set and, from phase 1 on, a
            sub-net on a batch of its cluster too, the sum of eq. (3); :meth:`networks` then gives the sub-net. Defaults
            to False.
        phase_iters (tuple[int, ...], optional): First iteration of each phase, starting with 0 and never decreasing.
            Where phases start together, the last of them holds. Defaults to None, phases of equal length.

    Raises:
        InputError: If the options do not fit together.
    """

    space: SubnetSpace
    num_iters: int
    supernet_prob: float | None = None
    joint: bool = False
    phase_iters: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.num_iters < 1:
            raise InputError(f'a schedule needs at least 1 iteration, got num_iters={self.num_iters}')
        if self.supernet_prob is not None:
            if self.joint:
                raise InputError(
                    'supernet_prob and joint=True exclude each other: joint iterations always train the super-net')
            if not 0 <= self.supernet_prob <= 1:
                raise InputError(f'supernet_prob is a probability from 0 to 1, got {self.supernet_prob}')
        if self.phase_iters is None:
            starts = tuple(p * self.num_iters // self.num_phases for p in range(self.num_phases))
        else:
            starts = tuple(int(start) for start in self.phase_iters)
            if len(starts) != self.num_phases or starts[0] != 0 or list(starts) != sorted(starts):
                raise InputError(
                    f'the starts of the phases must be {self.num_phases} numbers that begin with 0 and never decrease '
                    f'({self.space.num_blocks} routed blocks make {self.num_phases} phases), got {starts}')
        object.__setattr__(self, 'phase_iters', starts)

    @property
    def num_phases(self) -> int:
        """``num_blocks + 1``."""
        return self.space.num_blocks + 1

    @property
    def starts(self) -> tuple[int, ...]:
        """First iteration of each phase."""
        assert self.phase_iters is not None
        return self.phase_iters

    def phase_at(self, iteration: int) -> int:
        """Phase that ``iteration`` belongs to."""
        return int(np.searchsorted(self.starts, iteration, side='right')) - 1

    def num_subnets(self, phase: int) -> int:
        """Sub-nets that ``phase`` may draw beside the super-net."""
        return len(self.space.phase(phase))

    def networks(self, seed: int, start: int, stop: int) -> np.ndarray:
        """Draws the networks of the iterations ``start`` to ``stop - 1``, with the same ``seed`` on all ranks.

        Returns:
            np.ndarray: (stop - start,) int64, ``SUPERNET`` or a sub-net's index; with ``joint`` the sub-net beside the
            super-net, or ``SUPERNET`` if there is none yet.
        """
        iterations = np.arange(start, stop)
        subnets = np.array([self.num_subnets(p) for p in range(self.num_phases)])
        subnets = subnets[np.searchsorted(self.starts, iterations, side='right') - 1]
        draw = uniform(seed, _NETWORK_DRAW, iterations)
        if self.supernet_prob is None and not self.joint:
            # SUPERNET is -1, so the networks of a phase are the numbers from -1 to its last sub-net.
            networks: np.ndarray = (draw * (subnets + 1)).astype(np.int64) + SUPERNET
            return networks
        networks = (draw * subnets).astype(np.int64)
        networks[subnets == 0] = SUPERNET
        if self.supernet_prob is not None:
            networks[uniform(seed, _SUPERNET_DRAW, iterations) < self.supernet_prob] = SUPERNET
        return networks
