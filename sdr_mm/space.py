"""Paths, phases and prefixes of the sub-nets (sections 4.2 and 5.1 of the paper). Pure Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from .errors import InputError

Path = tuple[int, ...]

SUPERNET: Final = -1
"""Network index of the super-net ``W_0``; the sub-nets are numbered ``0 … len(space) - 1``."""


@dataclass(frozen=True)
class SubnetSpace:
    """All paths through the routed blocks.

    A path holds one individual group per block. Its index reads the groups as the digits of a
    number in base ``num_groups``, first block first, so the sub-nets of phase ``p``, whose paths
    differ from ``(0, …, 0)`` in the last ``p`` blocks only, are the first ``num_groups ** p`` ones.

    Args:
        num_groups (int): Individual groups per block. Defaults to 4.
        num_blocks (int): Routed blocks. Defaults to 4. With 0 there is no choice to make and the
            only path is ``()``.

    Raises:
        InputError: If there is no such space, or it has more than about 2⁶² sub-nets.
    """

    num_groups: int = 4
    num_blocks: int = 4

    def __post_init__(self) -> None:
        if self.num_groups < 1 or self.num_blocks < 0:
            raise InputError(
                f'a sub-net space needs num_groups >= 1 and num_blocks >= 0, '
                f'got num_groups={self.num_groups} and num_blocks={self.num_blocks}')
        if self.num_blocks * max(1, (self.num_groups - 1).bit_length()) > 62:
            raise InputError(f'a sub-net space of {self.num_groups} groups in {self.num_blocks} blocks has more '
                             'sub-nets than can be counted, or no end of blocks: use fewer')

    def __len__(self) -> int:
        """Number of sub-nets: ``num_groups ** num_blocks``."""
        return int(self.num_groups**self.num_blocks)

    @property
    def paths(self) -> list[Path]:
        """All paths, in the order of their index."""
        return self.prefixes(self.num_blocks)

    def prefixes(self, depth: int) -> list[Path]:
        """Nodes of the routing tree at ``depth``: the distinct first ``depth`` groups of the paths.

        Sub-nets with a common prefix compute the same thing up to there.

        Raises:
            InputError: If ``depth`` is not in ``[0, num_blocks]``.
        """
        if not 0 <= depth <= self.num_blocks:
            raise InputError(f'a prefix has 0 to {self.num_blocks} blocks, got {depth}')
        return list(product(range(self.num_groups), repeat=depth))

    def phase(self, p: int) -> range:
        """Indices of the sub-nets that phase ``p`` may sample beside the super-net.

        Phase 0 holds the super-net alone, hence an empty range; phase ``num_blocks`` holds all.

        Raises:
            InputError: If ``p`` is not in ``[0, num_blocks]``.
        """
        if not 0 <= p <= self.num_blocks:
            raise InputError(f'phases go from 0 to {self.num_blocks}, got {p}')
        return range(self.num_groups**p if p else 0)

    def path(self, index: int) -> Path:
        """Path of sub-net ``index``: its digits in base ``num_groups``, first block first.

        Raises:
            InputError: If there is no such sub-net.
        """
        if not 0 <= index < len(self):
            raise InputError(f'sub-net {index} is outside the space: it has {len(self)} sub-nets, 0 to {len(self) - 1}')
        digits = []
        for _ in range(self.num_blocks):
            index, digit = divmod(index, self.num_groups)
            digits.append(digit)
        return tuple(reversed(digits))

    def index(self, path: Sequence[int]) -> int:
        """Index of the sub-net on ``path``, the inverse of :meth:`path`.

        Raises:
            InputError: If the path is outside the space.
        """
        path = self.check(path)
        index = 0
        for group in path:
            index = index * self.num_groups + group
        return index

    def check(self, path: Sequence[int]) -> Path:
        """Returns ``path`` as a tuple.

        Raises:
            InputError: If it has another number of blocks or a group that does not exist.
        """
        path = tuple(path)
        if len(path) != self.num_blocks or not all(0 <= group < self.num_groups for group in path):
            raise InputError(
                f'path {path} is outside the space: a path is {self.num_blocks} groups, '
                f'each from 0 to {self.num_groups - 1}')
        return path
