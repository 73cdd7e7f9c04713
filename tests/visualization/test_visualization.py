"""Pictures show what they say."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from rankings import ranking

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.pool import Pool
from sdr_mm.errors import InputError
from sdr_mm.visualization import cluster_gallery, routed_rows, routing_report, task_gains
from sdr_mm.visualization.gain_histogram import draw_gains, gain_bins
from sdr_mm.visualization.gallery import GalleryRow, choose_images, contact_sheet, read_tiles, routed_cluster
from sdr_mm.visualization.style import GAIN, LOSS, shorten, signed

COLORS = np.array([[200, 0, 0], [0, 180, 0], [0, 0, 220], [180, 180, 0]], np.uint8)


@pytest.fixture
def pool(tmp_path):
    """Ten images of plain color, 3, 3, 3 and 1 in the clusters; cluster c has path 3 - c."""
    assignment = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3])
    paths = []
    for i, cluster in enumerate(assignment):
        paths.append(str(tmp_path / f'{i}.png'))
        Image.fromarray(np.broadcast_to(COLORS[cluster], (20, 30, 3)).copy()).save(paths[-1])
    return Pool(paths, Clusters(assignment, np.eye(4), np.array([[1, 1], [1, 0], [0, 1], [0, 0]]), 2, '0' * 64,
                                'random'))


def damage(path):
    with open(path, 'wb'):
        pass


def test_a_row_holds_images_of_its_cluster_and_no_others(pool):
    assert sorted(choose_images(pool.clusters, 1)) == [1, 4, 7]
    sheet = contact_sheet(pool.paths, pool.clusters, [2, 0, 3], count=4, tile=32, gap=4)
    assert sheet.shape == (3 * 36 - 4, 4 * 36 - 4, 3)
    for row, (cluster, size) in enumerate([(2, 3), (0, 3), (3, 1)]):
        for column in range(4):
            middle = sheet[row * 36 + 16, column * 36 + 16]
            expected = COLORS[cluster] * 0.97 if column < size else [255] * 3
            np.testing.assert_allclose(middle, expected, atol=1)


def test_a_damaged_image_is_passed_over(pool):
    damage(pool.paths[3])
    tiles = read_tiles(pool.paths, [3, 1, 2], 1, tile=8)
    assert len(tiles) == 1
    np.testing.assert_allclose(tiles[0][4, 4], COLORS[1] * 0.97, atol=1)


def test_a_cluster_without_an_image_that_can_be_read_is_one_line(pool, tmp_path):
    damage(pool.paths[9])
    with pytest.raises(InputError, match='none of the 1 images of a cluster can be read: .*9.png'):
        cluster_gallery(pool, tmp_path / 'gallery.png')
    empty = replace(pool.clusters, assignment=np.zeros(10, np.int64))
    with pytest.raises(InputError, match='cluster 2 has no images'):
        choose_images(empty, 2)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=300))
def test_no_bar_mixes_gain_and_loss_and_none_is_left_out(values):
    gains = np.array(values).round(9)  # As Ranking.gains gives them.
    edges = gain_bins(gains)
    assert np.isclose(edges, 0).any()
    assert np.histogram(gains, edges)[0].sum() == len(gains)
    assert len(edges) <= 40


def test_bars_count_the_sub_nets_and_their_color_tells_gain_from_loss():
    axes = Figure().add_subplot()
    draw_gains(axes, ranking('pets', [48, 51, 52.5, 49.5]))
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height(), matplotlib.colors.to_hex(bar.get_facecolor()))
            for bar in axes.patches]
    assert sum(height for _, height, _ in bars) == 4
    assert {color for middle, _, color in bars if middle > 0} == {GAIN}
    assert {color for middle, _, color in bars if middle < 0} == {LOSS}
    text = ' '.join(item.get_text() for item in axes.texts)
    assert 'routed: sub-net 2, +2.5' in text and '2 of 4 sub-nets above it' in text and 'baseline 50.0 %' in text
    assert axes.get_xlabel() == 'gain over baseline, points'


def test_a_score_that_is_no_accuracy_is_not_drawn_as_one():
    axes = Figure().add_subplot()
    draw_gains(axes, ranking('pets', [0.5, 0.125], baseline=0.25, columns=['logme']))
    text = ' '.join(item.get_text() for item in axes.texts)
    assert 'baseline 0.25 ·' in text and 'routed: sub-net 0, +0.25' in text
    assert axes.get_xlabel() == 'gain over baseline, LogME'


@pytest.mark.parametrize('scores', [[40, 60, 55, 52], [60, 49, 40, 41], [49.4, 49.2, 49.1, 49.3], [50, 51, 70, 90]])
def test_no_text_of_a_histogram_lies_on_another(scores, pool, tmp_path):
    figure = Figure(figsize=(5, 3), layout='constrained')
    axes = figure.add_subplot()
    draw_gains(axes, ranking('pets', scores))
    figure.draw_without_rendering()
    boxes = [item.get_window_extent() for item in (axes.title, *axes.texts) if item.get_text()]
    assert len(boxes) >= 3
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize('scores, side', [
    ([40, 60], 'right'), ([40, 45, 48], 'left'), ([60, 49], 'left')])  # The last one has no room at its left.
def test_the_name_of_the_super_net_stands_away_from_the_arrow(scores, side):
    axes = Figure().add_subplot()
    draw_gains(axes, ranking('pets', scores))
    assert [item.get_ha() for item in axes.texts if item.get_text() == 'super-net'] == [side]


def test_signs_are_those_of_print():
    assert [signed(value) for value in (1.26, -0.5, -0.04, 0)] == ['+1.3', '−0.5', '0.0', '0.0']


def test_long_names_lose_their_middle():
    assert shorten('a\nb') == 'a b'
    assert shorten('abcdefghij', 10) == 'abcdefghij'
    assert shorten('abcdefghijk', 10) == 'abcde…hijk'


def test_each_task_has_the_cluster_of_its_routed_sub_net(pool):
    rankings = [ranking('pets', [40, 60, 55, 52]), ranking('cars', [41, 48, 47, 49], baseline=None)]
    # The best are sub-net 1 (cluster 2) on pets and sub-net 3 (cluster 0) on cars.
    assert routed_rows(rankings, pool.clusters) == [GalleryRow(2, 'pets', '+10.0'), GalleryRow(0, 'cars')]
    assert [line[0] for line in GalleryRow(2, 'pets', '+10.0').lines(3000)] == ['pets', '+10.0 · cluster 2',
                                                                              '3,000 images']


def test_clusters_of_another_space_of_as_many_sub_nets_are_refused():
    one_block = Clusters(np.arange(4), np.eye(4), np.array([[0], [1], [2], [3]]), 4, '0' * 64, 'random')
    with pytest.raises(InputError, match='ranks 4 sub-nets of 2 blocks, but the clusters are those of 4 with 1'):
        routed_cluster(ranking('pets', [1, 2, 3, 4]), one_block)


def texts(figure):
    return [item.get_text() for axes in figure.axes for item in (axes.title, axes._left_title, *axes.texts)]


def test_a_report_shows_classes_and_images_of_the_best_cluster(pool, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr('sdr_mm.visualization.report.save_figure', lambda figure, *_, **__: drawn.append(figure))
    rankings = [ranking('pets', [40, 60, 55, 52]), ranking('$cars', [41, 48, 47, 49])]
    classes = ['cat', 'dog', 'dog', 'cat', 'dog', 'fox', 'cat', 'dog', 'dog', 'cat']
    routing_report(rankings, pool, tmp_path / 'report.png', classes=classes)
    shown = texts(drawn[0])
    # Cluster 2 has the images 2, 5 and 8; cluster 0 those of one class.
    for text in ('(a) pets', '(b) $cars', 'Cluster 2', 'Cluster 0', 'dog', '67 %', 'fox', '33 %', '100 %'):
        assert text in shown, text
    sheet = drawn[0].axes[2].images[0].get_array()
    np.testing.assert_allclose(sheet[48, 48], COLORS[2] * 0.97, atol=1)
    assert sheet.shape[1] == 4 * 102 - 6


def test_the_pictures_are_written_once(pool, tmp_path):
    before = dict(matplotlib.rcParams)
    one = ranking(r'no $\frac$ formula', [48, 51, 52, 49])
    several = [one, ranking('cars', [50, 50, 50, 50])]
    cluster_gallery(pool, tmp_path / 'gallery.png')
    cluster_gallery(pool, tmp_path / 'routed.png', rows=routed_rows(several, pool.clusters), count=4)
    routing_report([one], None, tmp_path / 'gain.png', over='super-net')
    routing_report(several, pool, tmp_path / 'report.png')
    task_gains(several, tmp_path / 'gains.png', order='mean')
    for name in ('gallery', 'routed', 'gain', 'report', 'gains'):
        with Image.open(tmp_path / f'{name}.png') as image:
            assert image.format == 'PNG' and min(image.size) > 250
    with pytest.raises(InputError, match='exists already'):
        routing_report([one], None, tmp_path / 'gain.png')
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize('draw, message', [
    (lambda pool, file: cluster_gallery(pool, file, rows=[GalleryRow(4)]), 'no cluster 4'),
    (lambda pool, file: cluster_gallery(pool, file, rows=[]), 'at least one cluster'),
    (lambda pool, file: cluster_gallery(Pool(pool.paths, None), file), 'needs the clusters'),
    (lambda pool, file: routing_report([], pool, file), 'at least one task'),
    (lambda pool, file: routing_report([ranking('pets', [1, 2])], pool, file), 'ranks 2 sub-nets'),
    (lambda pool, file: routing_report([ranking('pets', [1, 2])], Pool(pool.paths, None), file), 'need the clusters'),
    (lambda pool, file: routing_report([ranking('pets', [1, 2])], None, file, over='rival'), 'has no rival'),
    (lambda pool, file: routing_report([ranking('pets', [1, 2], baseline=None)], None, file), 'has no baseline'),
    (lambda pool, file: task_gains([], file), 'at least one task'),
    (lambda pool, file: task_gains([ranking('pets', [1, 2])], file, order='best'), 'one of given, mean, got')])
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(draw, message, pool, tmp_path):
    file = tmp_path / 'picture.png'
    with pytest.raises(InputError, match=message) as caught:
        draw(pool, file)
    assert '\n' not in str(caught.value)
    assert not file.exists()
