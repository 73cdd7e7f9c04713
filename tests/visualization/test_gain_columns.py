"""Gains over tasks, computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from rankings import ranking

from sdr_mm.errors import InputError
from sdr_mm.visualization import gains_matrix, task_gains
from sdr_mm.visualization.gain_columns import draw_task_gains, swarm
from sdr_mm.visualization.style import GAIN, LOSS, ROUTED

PETS, CARS = ranking('pets', [48, 51, 52.5, 49.5]), ranking('cars', [70, None, 64, 60], baseline=62.0)
NAN = float('nan')


def test_a_row_a_task_and_a_column_a_sub_net():
    np.testing.assert_array_equal(gains_matrix([PETS, CARS]), [[-2, 1, 2.5, -0.5], [8, NAN, 2, -2]])
    # Each super-net is a point below its baseline.
    np.testing.assert_array_equal(gains_matrix([CARS], 'super-net'), [[9, NAN, 3, -1]])


def test_points_marks_and_means_stand_at_the_gains():
    axes = Figure().add_subplot()
    draw_task_gains(axes, [PETS, CARS])
    points, means, routed = axes.collections[::3], axes.collections[1::3], axes.collections[2::3]
    assert [sorted(column.get_offsets()[:, 1]) for column in points] == [[-2, -0.5, 1], [-2, 2]]
    assert [mark.get_offsets().tolist() for mark in routed] == [[[0, 2.5]], [[1, 8]]]
    assert [mark.get_offsets().tolist() for mark in means] == [[[0, 0.25]], [[1, 8 / 3]]]
    for column in points:
        for (_, gain), color in zip(column.get_offsets(), column.get_facecolors()):
            assert to_hex(color) == (GAIN if gain >= 0 else LOSS)
    assert to_hex(routed[0].get_facecolors()[0]) == ROUTED
    text = [item.get_text() for item in axes.texts]
    assert text == ['+2.5', '+8.0', '3 or more of 4 sub-nets on 2 tasks']
    assert [label.get_text() for label in axes.get_xticklabels()] == ['pets', 'cars']


def test_tasks_are_sorted_by_mean_gain_where_that_is_asked_for(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr('sdr_mm.visualization.gain_columns.save_figure', lambda figure, *_, **__: drawn.append(figure))
    for order in ('given', 'mean'):
        task_gains([PETS, CARS], tmp_path / 'gains.png', order=order)
    labels = [[label.get_text() for label in figure.axes[0].get_xticklabels()] for figure in drawn]
    assert labels == [['pets', 'cars'], ['cars', 'pets']]


@given(st.lists(st.floats(-20, 20), max_size=60))
def test_points_of_a_swarm_do_not_lie_on_each_other(values):
    values = np.array(values)
    offsets = swarm(values, most=100)
    for level in {int(np.floor(value)) for value in values}:
        here = np.sort(offsets[np.floor(values) == level])
        assert (np.diff(here) >= 1 - 1e-9).all()
        assert here.sum() == pytest.approx(0)
    assert np.abs(swarm(values, most=0.5)).max(initial=0) <= 0.5


@pytest.mark.parametrize('rankings, message', [
    ([], 'at least one task'),
    ([PETS, PETS], 'two rankings on pets'),
    ([PETS, ranking('cars', [1, 2])], 'on pets and on cars are of different checkpoints'),
    ([ranking('pets', [1], checkpoint='a'), ranking('cars', [1], checkpoint='b')], 'of different checkpoints'),
    ([PETS, ranking('cars', [1, 2, 3, 4], columns=['logme'])], 'on pets are in points and those on cars in LogME'),
    ([ranking('pets', [1], baseline=None)], 'the routing on pets has no baseline to compare with'),
    ([ranking('pets', [None, None])], 'has no scores')])
def test_rankings_that_do_not_go_together_are_one_line(rankings, message):
    with pytest.raises(InputError, match=message) as caught:
        gains_matrix(rankings)
    assert '\n' not in str(caught.value)


def test_checkpoints_are_compared_where_they_are_known():
    gains_matrix([ranking('pets', [1], checkpoint='a'), ranking('cars', [1]), ranking('dogs', [1], checkpoint='a')])
