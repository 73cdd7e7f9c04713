"""Pictures show what they say."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.routing import Cost, RankedNetwork, Ranking
from sdr_mm.visualization import cluster_gallery, gain_histogram, routing_report
from sdr_mm.visualization.gain_histogram import draw_gains, gain_bins, signed
from sdr_mm.visualization.gallery import choose_images, contact_sheet
from sdr_mm.visualization.report import report_rows
from sdr_mm.visualization.style import GAIN, LOSS

COLORS = np.array([[200, 0, 0], [0, 180, 0], [0, 0, 220], [180, 180, 0]], np.uint8)


def ranking(task, scores, baseline=50.0):
    rows = [RankedNetwork(f'sub-net {i}', i, [i // 2, i % 2], 'task', [float(score)]) for i, score in enumerate(scores)]
    rows.append(RankedNetwork('super-net', None, None, 'task', [baseline - 1]))
    rows.append(RankedNetwork('baseline', None, None, 'task', [baseline]))
    return Ranking.of(task, rows, {}, Cost(1, 1, 1.0))


@pytest.fixture
def pool(tmp_path):
    """Ten images of plain color, 3, 3, 3 and 1 in the clusters; cluster c has path 3 - c."""
    assignment = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3])
    paths = []
    for i, cluster in enumerate(assignment):
        paths.append(tmp_path / f'{i}.png')
        Image.fromarray(np.broadcast_to(COLORS[cluster], (20, 30, 3)).copy()).save(paths[-1])
    clusters = Clusters(assignment, np.eye(4), np.array([[1, 1], [1, 0], [0, 1], [0, 0]]), 2, '0' * 64, 'random')
    return paths, clusters


def test_a_row_holds_images_of_its_cluster_and_no_others(pool):
    paths, clusters = pool
    assert sorted(choose_images(clusters, 1, 5)) == [1, 4, 7]
    sheet = contact_sheet(paths, clusters, [2, 0, 3], count=4, tile=32, gap=4)
    assert sheet.shape == (3 * 36 - 4, 4 * 36 - 4, 3)
    for row, (cluster, size) in enumerate([(2, 3), (0, 3), (3, 1)]):
        for column in range(4):
            middle = sheet[row * 36 + 16, column * 36 + 16]
            expected = COLORS[cluster] * 0.97 if column < size else [255] * 3
            np.testing.assert_allclose(middle, expected, atol=1)


def test_a_damaged_image_leaves_its_place_white(pool):
    paths, clusters = pool
    paths[9].write_bytes(b'')
    assert (contact_sheet(paths, clusters, [3], count=2, tile=8, gap=1) == 255).all()


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
    assert 'routed: sub-net 2, +2.5' in text and '2 of 4 sub-nets above it' in text and 'baseline 50.0' in text


def test_signs_are_those_of_print():
    assert [signed(value) for value in (1.26, -0.5, -0.04, 0)] == ['+1.3', '−0.5', '0.0', '0.0']


def test_routed_clusters_come_first_then_the_next_best(pool):
    _, clusters = pool
    rankings = [ranking('pets', [40, 60, 55, 52]), ranking('cars', [41, 48, 47, 49])]
    rows = report_rows(rankings, clusters, 3, 'baseline')
    # The best are sub-net 1 (cluster 2) on pets and sub-net 3 (cluster 0) on cars.
    assert [row.cluster for row in rows] == [2, 0, 1]
    assert [row.notes for row in rows] == [('pets +10.0', ), ('cars −1.0', ), ()]


def test_the_pictures_are_written_once(pool, tmp_path):
    paths, clusters = pool
    before = dict(matplotlib.rcParams)
    one = ranking('pets', [48, 51, 52, 49])
    cluster_gallery(paths, clusters, tmp_path / 'gallery.png')
    gain_histogram(one, tmp_path / 'gain.png', over='super-net')
    routing_report([one, ranking('cars', [50, 50, 50, 50])], paths, clusters, tmp_path / 'report.png')
    for name in ('gallery', 'gain', 'report'):
        with Image.open(tmp_path / f'{name}.png') as image:
            assert image.format == 'PNG' and min(image.size) > 300
    with pytest.raises(InputError, match='exists already'):
        gain_histogram(one, tmp_path / 'gain.png')
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize('draw, message', [
    (lambda paths, clusters, file: cluster_gallery(paths, clusters, file, numbers=[4]), 'no cluster 4'),
    (lambda paths, clusters, file: cluster_gallery(paths, clusters, file, numbers=[]), 'at least one cluster'),
    (lambda paths, clusters, file: routing_report([], paths, clusters, file), 'at least one task'),
    (lambda paths, clusters, file: routing_report([ranking('pets', [1, 2])], paths, clusters, file),
     'ranks 2 sub-nets'),
    (lambda paths, clusters, file: gain_histogram(ranking('pets', [1, 2]), file, over='rival'), 'has no rival')])
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(draw, message, pool, tmp_path):
    file = tmp_path / 'picture.png'
    with pytest.raises(InputError, match=message):
        draw(*pool, file)
    assert not file.exists()
