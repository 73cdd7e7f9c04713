"""Where points and error bars stand, computed by hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rankings import ranking

from sdr_mm.errors import InputError
from sdr_mm.routing import Cost, RankedNetwork, Ranking
from sdr_mm.visualization.gain_chart import gain_chart, gain_text, paired_gain, reference_of


def network(*scores, name='one', subnet=None):
    return RankedNetwork(name, subnet, None if subnet is None else [subnet], 'task', list(map(float, scores)))


def several(rows, others, splits=3):
    return Ranking.of('pets', [*(network(*scores, name=f'sub-net {i}', subnet=i) for i, scores in enumerate(rows)),
                               *(network(*scores, name=name) for name, scores in others.items())],
                      dict(columns=['knn k=20'], splits=splits), Cost(1, 1, 1.0))


def test_a_gain_is_that_on_the_same_split():
    # The differences are 2, 0 and 1: mean 1, and a third of (1 + 1 + 0) is the variance.
    gain = paired_gain(network(52, 60, 71), network(50, 60, 70))
    assert gain == (1, pytest.approx((2 / 3)**0.5), 2, 3)
    assert gain_text(gain, '.2f') == '+1.00 ± 0.82'
    assert paired_gain(network(49), network(50)) == (-1, None, 0, 1)
    assert gain_text(paired_gain(network(49), network(50)), '.2f') == '−1.00'
    # Scores that vary together do not widen the bar.
    assert paired_gain(network(10, 50, 90), network(9, 49, 89)).spread == 0


@pytest.mark.parametrize('one, other', [(1e308, -1e308), (1e12, 0)])
def test_scores_that_no_picture_can_hold_are_one_line(one, other):
    with pytest.raises(InputError, match='too far apart'):
        paired_gain(network(one), network(other))


def test_the_reference_is_the_baseline_or_else_the_super_net():
    assert reference_of(ranking('pets', [51, 52])).name == 'baseline'
    assert reference_of(ranking('pets', [51, 52], baseline=None)).name == 'super-net'
    assert reference_of(ranking('pets', [None, None])) is None
    assert reference_of(several([(50, 51, 52)], {})) is None


def test_points_and_bars_stand_at_the_gains():
    shown = several([(51, 52, 53), (58, 60, 62), (49, 48, 47)], {'baseline': (50, 50, 50), 'super-net': (51, 51, 51)})
    chart = gain_chart(shown, shown.network('baseline'), 600, 300)
    zero, one = (line.y for line in chart.lines)
    unit = zero - one  # The super-net is a point above the baseline.
    assert [line.kind for line in chart.lines] == ['reference', 'supernet'] and unit > 0
    assert [mark.kind for mark in chart.marks] == ['routed', 'gain', 'loss']
    assert [(zero - mark.y) / unit for mark in chart.marks] == pytest.approx([10, 2, -2])
    spreads = [(8 / 3)**0.5, (2 / 3)**0.5, (2 / 3)**0.5]
    assert [(mark.low - mark.y) / unit for mark in chart.marks] == pytest.approx(spreads)
    assert [(mark.y - mark.high) / unit for mark in chart.marks] == pytest.approx(spreads)
    assert chart.marks[0].title == 'sub-net 1, path 1, rank 1: +10.00 ± 1.63 points over baseline'
    assert [text for _, text in chart.places] == ['1', '0', '2'] and 'number of the sub-net' in chart.axis
    # The marks of the axis are where they say.
    for y, text in chart.levels:
        assert (zero - y) / unit == pytest.approx(float(text.replace('−', '-')))


@given(st.lists(st.tuples(st.floats(-99, 99), st.floats(-99, 99)), min_size=1, max_size=256),
       st.floats(-99, 99), st.floats(-99, 99), st.sampled_from([(800, 330), (360, 300)]))
def test_nothing_leaves_the_axes_and_no_name_lies_on_another(rows, baseline, supernet, size):
    shown = several(rows, {'baseline': (baseline, ) * 2, 'super-net': (supernet, ) * 2}, splits=2)
    chart = gain_chart(shown, shown.network('baseline'), *size)
    assert len(chart.marks) == len(rows)
    for mark in chart.marks:
        assert chart.top - 1e-6 <= mark.high <= mark.y <= mark.low <= chart.bottom + 1e-6
        assert chart.left < mark.x < chart.right
    assert abs(chart.lines[0].label - chart.lines[1].label) >= 15 - 1e-6
    assert all(0 < line.label < chart.height for line in chart.lines)
    places = [x for x, _ in chart.places]
    assert min((b - a for a, b in zip(places, places[1:])), default=99) >= 20
    if 'rank' in chart.axis:
        assert chart.places[0][1] == '1' and all(re.fullmatch(r'1|\d*[0246857]', text) for _, text in chart.places)
