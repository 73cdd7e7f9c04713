"""The demo's code on a tiny data set: every step for real, in seconds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import projects.demo.__main__ as demo
from projects.demo.pipeline import Recipe, prepare_out, run
from projects.demo.scoring import color_histograms, pixel_features, routing_splits
from projects.demo.table import Line, routed_subnets, subnet_lines, table
from sdr_mm.errors import InputError
from sdr_mm.evaluation.task import Task
from sdr_mm.models.checkpoints import read_checkpoint, read_state_dict
from sdr_mm.routing import Cost, RankedNetwork, Ranking

TINY = Recipe(epochs=2, batch_size=4, divisions=2, k=3, cluster_epochs=2, workers=0)


def draw(random, shape):
    """A picture of one shape in one color somewhere on a white ground."""
    image = Image.new('RGB', (40, 40), 'white')
    left, top = random.integers(2, 14, 2)
    box = [left, top, left + 20, top + 20]
    getattr(ImageDraw.Draw(image), shape)(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo')
    random = np.random.default_rng(0)
    (root / 'pool').mkdir()
    for number in range(96):
        draw(random, ('ellipse', 'rectangle')[number % 2]).save(root / f'pool/{number:02d}.png')
    for shape in ('ellipse', 'rectangle'):
        (root / 'shapes' / shape).mkdir(parents=True)
        for number in range(12):
            draw(random, shape).save(root / f'shapes/{shape}/{number:02d}.png')
    return root


@pytest.mark.slow
def test_whole_path_gives_checkpoints_clusters_rankings_export_table_and_picture(folders, tmp_path):
    (folders / 'pool/broken.png').write_bytes(b'no picture')
    said = []
    try:
        lines = run(folders / 'pool', {'shapes': folders / 'shapes'}, tmp_path, TINY, said.append)
    finally:
        (folders / 'pool/broken.png').unlink()
    names = [line.name for line in lines]
    assert names[:5] == ['raw pixels', 'color histogram', 'random network', 'SimSiam baseline', 'super-net']
    assert names[5:13] == 2 * ['mean sub-net', 'worst sub-net', 'best sub-net (chosen in hindsight)', 'routed sub-net']
    assert names[13:] == ['random network', 'SimSiam baseline', 'super-net', 'routed sub-net']
    for line in lines:
        assert len(line.scores['shapes']) == 2 and all(0 <= score <= 100 for score in line.scores['shapes'])
    assert json.loads((tmp_path / 'demo.json').read_text())['recipe']['epochs'] == 2
    assert (tmp_path / 'table.md').read_text().strip() == table(lines)
    assert Image.open(tmp_path / 'demo.png').size[0] > 500
    state = read_state_dict(tmp_path / 'resnet18_shapes.pth')
    assert state['layer4.1.conv2.weight'].shape == (128, 128, 3, 3)
    # Both saw the same number of images: 2 epochs of 24 iterations.
    iterations = [read_checkpoint(tmp_path / part / 'epoch_2.pth')['meta']['iter']
                  for part in ('simsiam', 'sdr')]
    assert iterations == [48, 48]
    assert any('none missing, none unexpected' in line for line in said)


def test_pool_that_is_too_small_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match='too few for 16 clusters'):
        run(folders / 'shapes', {'shapes': folders / 'shapes'}, tmp_path, Recipe(), lambda line: None)


def test_images_that_score_never_choose_nor_train_the_choice(folders):
    task = routing_splits(Task.from_folder(folders / 'shapes'), divisions=3)
    assert len(task.splits) == 6
    for choosing, scoring in zip(task.splits[:3], task.splits[3:]):
        everything = [set(part.tolist()) for part in (choosing.train, choosing.test, scoring.test)]
        assert set.union(*everything) == set(range(24)) and sum(map(len, everything)) == 24
        assert set(scoring.train.tolist()) == everything[0] | everything[1]


def ranking(scores):
    networks = [RankedNetwork(f'sub-net {number}', number, [number], 'pool', values)
                for number, values in enumerate(scores)]
    return Ranking.of('task', networks, {}, Cost(0, 0, 0))


def test_routed_subnet_is_chosen_on_one_half_and_scored_on_the_other():
    # Two repeats: sub-net 1 chooses best in the first, sub-net 0 in the second.
    lines = subnet_lines([ranking([[50, 90, 10, 20], [60, 80, 30, 40]])], 'block')
    scores = {line.name: line.scores['task'] for line in lines}
    assert scores == {'mean sub-net': [20, 30], 'worst sub-net': [10, 20],
                      'best sub-net (chosen in hindsight)': [30, 40], 'routed sub-net': [30, 20]}


def test_of_equals_the_first_is_routed_to_whatever_the_images_that_score_say():
    # The second one scores better, so it comes first in the ranking.
    for scores in ([[50, 10], [50, 40]], [[50, 40], [50, 10]]):
        assert routed_subnets(ranking(scores)) == [0]


def test_table_is_markdown_with_means_and_deviations_under_the_title_of_each_block():
    lines = [Line('one', {'a': [10., 20.], 'b': [1., 1.]}, 'first'), Line('two', {'a': [0.], 'b': [2.]}, 'second')]
    text = table(lines)
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert rows[0] == ['accuracy in %', 'a', 'b']
    assert rows[2:] == [['*first*', '', ''], ['one', '15.0 ± 5.0', '1.0 ± 0.0'], ['*second*', '', ''],
                        ['two', '0.0 ± 0.0', '2.0 ± 0.0']]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_references_by_hand():
    images = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    images[0, :, :2] = 255
    torch.testing.assert_close(pixel_features(images, side=2).view(3, 2, 2)[0], torch.tensor([[.5, -.5], [.5, -.5]]))
    histogram = color_histograms(images, levels=2)
    assert histogram[0].nonzero().flatten().tolist() == [0, 7]
    torch.testing.assert_close(histogram[0, [0, 7]], torch.tensor([.5, .5]).sqrt())


def test_folder_of_something_else_is_not_replaced_by_the_demo(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(InputError, match='something else than a demo'):
        prepare_out(tmp_path)
    assert (tmp_path / 'thesis.tex').exists()
    prepare_out(tmp_path / 'demo')
    (tmp_path / 'demo/old').touch()
    prepare_out(tmp_path / 'demo')
    assert not (tmp_path / 'demo/old').exists()


def test_own_images_and_tasks_fetch_nothing(folders):
    args = demo.parse_args(['--data', str(folders / 'pool'), '--task', str(folders / 'shapes')])
    assert demo.images(args) == (folders / 'pool', {'shapes': folders / 'shapes'})
