"""Random draws that nothing has to remember: each is a function of a few integers and can be repeated anywhere."""

from __future__ import annotations

import numpy as np

Integers = int | np.ndarray | np.integer

_ROUNDS = 8
_MASK = (1 << 64) - 1


def _mix(words: np.ndarray) -> np.ndarray:
    """Bijection of 64-bit words in which each input bit reaches each output bit (that of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words = words ^ (words >> np.uint64(31))
    return words


def hash64(*values: Integers) -> np.ndarray:
    """Hashes integers to 64 bits that look random, in the order given; negative numbers wrap around.

    Integers and arrays of integers are broadcast against each other to uint64 in the common shape, () for integers
    alone.
    """
    with np.errstate(over='ignore'):
        state = np.array(len(values), dtype=np.uint64)
        for value in values:
            words = np.asarray(value if isinstance(value, np.ndarray) else int(value) & _MASK).astype(np.uint64)
            state = _mix((state ^ words) + np.uint64(0x9E3779B97F4A7C15))
        return np.asarray(_mix(state))


def uniform(*values: Integers) -> np.ndarray:
    """Hashes integers to float64 numbers in [0, 1), see :func:`hash64`."""
    numbers: np.ndarray = (hash64(*values) >> np.uint64(11)) * 2.0**-53
    return numbers


def permute(positions: np.ndarray, n: int, key: int) -> np.ndarray:
    """Evaluates a pseudo-random permutation of ``[0, n)`` at some positions only.

    A Feistel network permutes the smallest domain of ``4 ** w >= n`` numbers; a result outside ``[0, n)`` is permuted
    again until it falls inside (cycle walking), which keeps the whole a permutation. Time and memory are those of the
    positions, whatever ``n``.

    The positions, integers in ``[0, n)`` of any shape, give int64 in that shape; ``n`` is at most ``2 ** 62``, and
    ``key`` chooses the permutation.
    """
    assert 1 <= n <= 1 << 62, f'a permutation has 1 to 2**62 elements, got {n}'
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    shift, keep = np.uint64(half), np.uint64(64 - half)
    keys = hash64(key, np.arange(_ROUNDS))
    words = np.array(positions, dtype=np.uint64).reshape(-1)
    outside = np.arange(words.size)
    while outside.size:
        left, right = words[outside] >> shift, words[outside] & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) >> keep)
        words[outside] = left << shift | right
        outside = outside[words[outside] >= n]
    return words.astype(np.int64).reshape(np.shape(positions))
