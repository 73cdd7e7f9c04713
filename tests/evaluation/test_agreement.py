"""How far a score agrees with a reference."""

import itertools
import math

import numpy as np
import pytest

from sdr_mm.errors import InputError
from sdr_mm.evaluation.agreement import rank_correlation, regret, top1_agreement


def pairwise_tau(a, b):
    """Kendall's τ_b by counting all pairs."""
    pairs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in itertools.combinations(range(len(a)), 2)]
    together = sum(p * q for p, q in pairs)
    return together / math.sqrt(sum(p != 0 for p, _ in pairs) * sum(q != 0 for _, q in pairs))


def ranks(a):
    return np.array([(np.sum(a < x) + np.sum(a <= x) + 1) / 2 for x in a])


@pytest.mark.parametrize('seed', range(3))
def test_correlations_are_those_counted_by_hand_with_equal_values(seed):
    random = np.random.default_rng(seed)
    scores, reference = random.integers(5, size=17), random.integers(6, size=17)
    found = rank_correlation(scores, reference)
    assert found.kendall == pytest.approx(pairwise_tau(scores, reference))
    assert found.spearman == pytest.approx(np.corrcoef(ranks(scores), ranks(reference))[0, 1])


def test_equal_and_opposite_orders_are_the_extremes():
    up = [1, 2, 3, 10]
    assert rank_correlation(up, [0.1, 0.2, 0.5, 0.6]).kendall == 1
    opposite = rank_correlation(up, [4, 3, 2, 1])
    assert opposite.kendall == pytest.approx(-1) and opposite.spearman == pytest.approx(-1)


def test_without_an_order_there_is_no_correlation():
    for found in (rank_correlation([1, 1, 1], [1, 2, 3]), rank_correlation([1, 2, 3], [5, 5, 5])):
        assert math.isnan(found.kendall) and math.isnan(found.spearman)


def test_regret_is_what_the_choice_loses():
    accuracy = [70, 75, 72, 60]
    assert regret([0.1, 0.3, 0.9, 0.2], accuracy) == 3
    assert regret([0.1, 9.0, 0.9, 0.2], accuracy) == 0
    assert top1_agreement([0.1, 0.3, 0.9, 0.2], accuracy) == 0
    assert top1_agreement([0.1, 9.0, 0.9, 0.2], accuracy) == 1


def test_equal_scores_are_a_toss_up_whatever_their_order():
    assert regret([5, 5, 1], [70, 75, 80]) == regret([5, 5, 1], [75, 70, 80]) == 7.5
    assert top1_agreement([5, 5, 5, 1], [70, 75, 75, 60]) == pytest.approx(2 / 3)


@pytest.mark.parametrize('function', [rank_correlation, regret, top1_agreement])
@pytest.mark.parametrize('scores, reference, message', [
    ([1], [1], 'two networks or more'),
    ([1, 2, 3], [1, 2], r'got shapes \(3,\) and \(2,\)'),
    ([1, math.nan], [1, 2], 'the score of network number 1 is nan'),
    ([1, 2], [math.inf, 2], 'the reference of network number 0 is inf'),
])
def test_what_cannot_be_compared_is_one_line(function, scores, reference, message):
    with pytest.raises(InputError, match=message) as caught:
        function(scores, reference)
    assert '\n' not in str(caught.value)
