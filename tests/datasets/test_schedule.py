"""Which network each iteration trains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.errors import InputError
from sdr_mm.space import SUPERNET, SubnetSpace

SPACE = SubnetSpace(4, 4)
N = 50_000


def test_phases_are_equally_long_and_the_last_one_goes_on():
    schedule = PhaseSchedule(SPACE, 100)
    assert [schedule.phase_at(i) for i in range(100)] == [i // 20 for i in range(100)]
    assert schedule.phase_at(100) == schedule.phase_at(10**9) == 4
    assert [schedule.num_subnets(p) for p in range(5)] == [0, 4, 16, 64, 256]


@pytest.mark.parametrize('phase, networks', [(0, 1), (1, 5), (2, 17), (3, 65), (4, 257)])
def test_each_phase_draws_uniformly_from_its_networks(phase, networks):
    drawn = PhaseSchedule(SPACE, 5 * N).networks(seed=1, start=phase * N, stop=(phase + 1) * N)
    counts = np.bincount(drawn - SUPERNET)
    assert counts.size == networks and drawn.min() == SUPERNET
    expected = N / networks
    assert np.abs(counts - expected).max() <= 5 * expected**0.5


def test_algorithm_1_trains_the_supernet_in_a_quarter_of_the_iterations():
    # The share of W_0 with phases of 1, 5, 17, 65 and 257 networks, which sets the cost of a run.
    drawn = PhaseSchedule(SPACE, N).networks(seed=2, start=0, stop=N)
    assert (drawn == SUPERNET).mean() == pytest.approx((1 + 1 / 5 + 1 / 17 + 1 / 65 + 1 / 257) / 5, abs=0.005)


@given(seed=st.integers(0, 2**32 - 1), start=st.integers(0, 300), length=st.integers(0, 100),
       options=st.sampled_from([{}, dict(supernet_prob=0.3), dict(joint=True)]))
def test_draws_are_a_function_of_seed_and_iteration(seed, start, length, options):
    schedule = PhaseSchedule(SubnetSpace(2, 3), 200, **options)
    whole = schedule.networks(seed, 0, 400)
    assert schedule.networks(seed, start, start + length).tolist() == whole[start:start + length].tolist()


def test_seeds_draw_different_networks():
    schedule = PhaseSchedule(SPACE, 1000)
    assert (schedule.networks(0, 800, 1000) != schedule.networks(1, 800, 1000)).mean() > 0.9


@pytest.mark.parametrize('prob', [0.0, 0.2, 1.0])
def test_supernet_prob_is_the_share_of_the_supernet_once_there_are_subnets(prob):
    schedule = PhaseSchedule(SPACE, 5 * N, supernet_prob=prob)
    assert set(schedule.networks(0, 0, N)) == {SUPERNET}
    drawn = schedule.networks(0, 2 * N, 3 * N)
    assert (drawn == SUPERNET).mean() == pytest.approx(prob, abs=0.01 if 0 < prob < 1 else 0)
    subnets = drawn[drawn != SUPERNET]
    if subnets.size:
        expected = subnets.size / 16
        assert np.abs(np.bincount(subnets, minlength=16) - expected).max() <= 5 * expected**0.5


def test_joint_iterations_have_a_subnet_from_phase_1_on():
    schedule = PhaseSchedule(SPACE, 5 * N, joint=True)
    assert set(schedule.networks(0, 0, N)) == {SUPERNET}
    counts = np.bincount(schedule.networks(0, N, 2 * N))
    assert counts.size == 4 and np.abs(counts - N / 4).max() <= 5 * (N / 4)**0.5


def test_phases_may_start_anywhere_or_be_left_out():
    schedule = PhaseSchedule(SPACE, 100, phase_iters=(0, 50, 50, 50, 50))
    assert schedule.phase_at(49) == 0 and schedule.phase_at(50) == 4
    assert set(schedule.networks(0, 0, 50)) == {SUPERNET}


def test_a_training_of_one_iteration_is_one():
    # All phases start together, and the last of them holds.
    assert PhaseSchedule(SPACE, 1).starts == (0, 0, 0, 0, 0) and PhaseSchedule(SPACE, 1).phase_at(0) == 4


def test_a_space_without_blocks_has_the_supernet_alone():
    assert PhaseSchedule(SubnetSpace(4, 0), 10).networks(0, 0, 20).tolist() == [SUPERNET] * 20


@pytest.mark.parametrize('options, message', [
    (dict(num_iters=0), 'at least 1 iteration'),
    (dict(num_iters=10, supernet_prob=1.5), 'from 0 to 1, got 1.5'),
    (dict(num_iters=10, supernet_prob=0.5, joint=True), 'exclude each other'),
    (dict(num_iters=10, phase_iters=(0, 5)), 'must be 5 numbers'),
    (dict(num_iters=10, phase_iters=(1, 2, 3, 4, 5)), 'begin with 0'),
    (dict(num_iters=10, phase_iters=(0, 3, 2, 4, 5)), 'never decrease'),
])
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PhaseSchedule(SPACE, **options)
