"""Bars of scores, against a table made by hand."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from sdr_mm.errors import InputError
from sdr_mm.visualization import Scores, score_bars
from sdr_mm.visualization.bars import draw_scores
from sdr_mm.visualization.style import SERIES

NAN = float('nan')
# A is best on Aircraft, both on Pets, where they agree as printed; on Food B is missing.
SCORES = Scores(['A', 'B'], ['Aircraft', 'Pets', 'Food'], np.array([[51.3, 80.01, 70], [44, 79.99, NAN]]))


def test_the_best_of_a_task_is_that_of_all_as_printed():
    assert SCORES.compared.tolist() == [True, True, False]
    assert SCORES.best.tolist() == [[True, True, False], [False, True, False]]


def test_bars_are_as_high_as_the_scores_and_the_best_are_named():
    axes = Figure().add_subplot()
    draw_scores(axes, SCORES)
    assert [bar.get_height() for bar in axes.patches] == [51.3, 80.01, 70, 44, 79.99, 0]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    np.testing.assert_allclose(middles, [-0.2, 0.8, 1.8, 0.2, 1.2, 2.2])
    assert [(text.get_text(), round(text.xy[0], 1)) for text in axes.texts] == [('51.3', -0.2), ('80.0', 0.8),
                                                                              ('80.0', 1.2)]
    assert [text.get_text() for text in axes.get_legend().texts] == ['A: best on 2 of 2', 'B: best on 1 of 2']
    assert axes.get_ylim()[0] == 0


def test_networks_are_chosen_in_order():
    chosen = SCORES.of(['B', 'A'])
    assert chosen.networks == ['B', 'A']
    np.testing.assert_array_equal(chosen.values, SCORES.values[::-1])
    with pytest.raises(InputError, match="no network 'C', only A, B"):
        SCORES.of(['C'])


def test_fills_differ_on_gray_paper():
    looks = [(ImageColor.getcolor(look['facecolor'], 'L'), look.get('hatch', '')) for look in SERIES]
    for number, (gray, hatch) in enumerate(looks):
        assert all(abs(gray - other) >= 40 or hatch != pattern for other, pattern in looks[:number])


def test_the_picture_is_written_once_and_only_of_so_many_networks(tmp_path):
    score_bars(SCORES, tmp_path / 'bars.png')
    with Image.open(tmp_path / 'bars.png') as image:
        assert image.format == 'PNG'
    with pytest.raises(InputError, match='exists already'):
        score_bars(SCORES, tmp_path / 'bars.png')
    many = Scores([f'{number}' for number in range(7)], ['Pets'], np.ones((7, 1)))
    with pytest.raises(InputError, match='at most 6 networks, here are 7: choose some with --networks'):
        score_bars(many, tmp_path / 'many.png')
    assert not (tmp_path / 'many.png').exists()
    with pytest.raises(InputError, match='at least one network'):
        Scores([], [], np.ones((0, 0)))
