"""Draws without memory: hashes and permutations."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdr_mm.permutation import hash64, permute, uniform

KEYS = st.integers(-2**63, 2**64 - 1)


@given(n=st.integers(1, 3000), key=KEYS)
def test_permute_is_a_bijection(n, key):
    assert sorted(permute(np.arange(n), n, key).tolist()) == list(range(n))


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5, 15, 16, 17, 64, 255, 256, 257, 4096, 65537])
def test_permute_is_a_bijection_around_the_sizes_of_its_domains(n):
    assert sorted(permute(np.arange(n), n, key=3).tolist()) == list(range(n))


@given(n=st.integers(1, 1 << 62), key=KEYS, data=st.data())
def test_permute_gives_at_some_positions_what_it_gives_at_each_alone(n, key, data):
    positions = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=8)), dtype=np.int64)
    values = permute(positions, n, key)
    assert values.dtype == np.int64 and ((values >= 0) & (values < n)).all()
    assert values.tolist() == [int(permute(np.array(position), n, key)) for position in positions]
    assert len(set(values.tolist())) == len(set(positions.tolist()))


@pytest.mark.parametrize('n', [2, 3, 4])
def test_keys_reach_all_orders_of_few_elements_equally(n):
    count = 3000
    orders = Counter(tuple(permute(np.arange(n), n, key)) for key in range(count))
    expected = count / math.factorial(n)
    assert len(orders) == math.factorial(n)
    # Deviations of more than 5 standard deviations would be a bias.
    assert all(abs(seen - expected) < 5 * expected**0.5 for seen in orders.values())


def test_neighbors_are_scattered_over_a_large_set():
    n, tiles = 1000, 10
    starts, steps = np.zeros(tiles), np.zeros(tiles)
    for key in range(400):
        first, second = permute(np.array([0, 1]), n, key)
        starts[first * tiles // n] += 1
        steps[(second - first) % n * tiles // n] += 1
    assert np.abs(starts - 40).max() < 32 and np.abs(steps - 40).max() < 32
    order = permute(np.arange(n), n, key=1)
    assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.15


MASK = 2**64 - 1


def reference_mix(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def reference_hash(*values):
    """The same hash, spelled with Python's integers."""
    state = len(values)
    for value in values:
        state = reference_mix((state ^ value & MASK) + 0x9E3779B97F4A7C15 & MASK)
    return reference_mix(state)


@given(st.lists(KEYS, min_size=1, max_size=4))
def test_hash_of_integers_follows_its_definition(values):
    assert int(hash64(*values)) == reference_hash(*values)


@given(first=KEYS, values=st.lists(st.integers(-2**63, 2**63 - 1), min_size=1, max_size=5))
def test_hash_of_an_array_is_that_of_its_elements(first, values):
    assert hash64(first, np.array(values)).tolist() == [reference_hash(first, value) for value in values]


def reference_permutation(n, key):
    """The same order, spelled with Python's integers: an order that changes would make old runs resume wrongly."""
    half = next(width for width in range(1, 40) if 4**width >= n)

    def feistel(word):
        left, right = word >> half, word % 2**half
        for round_number in range(8):
            mixed = reference_mix(right ^ reference_hash(key, round_number))
            left, right = right, left ^ mixed >> 64 - half
        return left << half | right

    order = []
    for position in range(n):
        word = feistel(position)
        while word >= n:
            word = feistel(word)
        order.append(word)
    return order


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5, 16, 17, 65, 256, 1000])
def test_permute_follows_its_definition(n):
    assert permute(np.arange(n), n, key=11).tolist() == reference_permutation(n, 11)


@pytest.mark.parametrize('n', [0, 2**62 + 1])
def test_permute_of_no_elements_or_too_many_is_refused(n):
    with pytest.raises(AssertionError, match='1 to 2..62 elements'):
        permute(np.zeros(1, dtype=np.int64), n, key=0)


def test_permute_of_as_many_elements_as_may_be():
    ends = permute(np.array([0, 2**62 - 1]), 2**62, key=0)
    assert len(set(ends.tolist())) == 2 and (ends >= 0).all() and (ends < 2**62).all()


@pytest.mark.filterwarnings('error')
def test_a_hash_wraps_around_without_a_warning():
    assert int(hash64(-1, 2**63)) == reference_hash(-1, 2**63)


def test_uniform_numbers_fill_the_unit_interval_evenly():
    numbers = uniform(7, np.arange(20000))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 1000).max() < 5 * 1000**0.5
