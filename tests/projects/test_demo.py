"""The demo's code on a tiny data set: every step for real, in seconds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import projects.demo.__main__ as demo
from projects.demo.pipeline import Recipe, prepare_out, run
from projects.demo.scoring import color_histograms, demo_task, linear_scores, pixel_features
from projects.demo.table import Line, mean_and_error, routed_subnet, subnet_lines, table
from projects.real_data.mixed import MixedPool, choose_and_score
from sdr_mm.errors import InputError
from sdr_mm.evaluation.task import Split, Task
from sdr_mm.images import find_images
from sdr_mm.models.checkpoints import read_checkpoint, read_state_dict
from sdr_mm.routing import Cost, RankedNetwork, Ranking

TINY = Recipe(first=2, more=1, batch_size=4, k=3, cluster_epochs=2)


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


def shapes(folders, **options):
    return demo_task(choose_and_score(Task.from_folder(folders / 'shapes')), **options)


@pytest.mark.slow
def test_whole_path_gives_checkpoints_clusters_rankings_export_table_and_picture(folders, tmp_path):
    (folders / 'pool/broken.png').write_bytes(b'no picture')
    said = []
    try:
        pool = MixedPool(folders / 'pool', find_images(folders / 'pool'), [shapes(folders, parts=2)])
        lines = run(pool, tmp_path, TINY, said.append)
    finally:
        (folders / 'pool/broken.png').unlink()
    networks = ['SimCLR', 'SimCLR, trained on', 'one network, cluster-pure batches']
    subnets = ['mean sub-net', 'worst sub-net', 'best sub-net (chosen in hindsight)', 'routed sub-net']
    assert [line.name for line in lines] == ['raw pixels', 'color histogram', 'random network',
                                             'SimCLR of equal size on as many images', *subnets,
                                             *networks, *subnets,
                                             'random network', *networks, 'routed sub-net']
    for line in lines:
        assert len(line.scores['shapes']) == 2 and all(0 <= score <= 100 for score in line.scores['shapes'])
    assert json.loads((tmp_path / 'demo.json').read_text())['recipe']['more'] == 1
    assert (tmp_path / 'table.md').read_text().strip() == table(lines)
    assert Image.open(tmp_path / 'demo.png').size[0] > 500
    state = read_state_dict(tmp_path / 'resnet18_shapes.pth')
    assert state['layer4.1.conv2.weight'].shape == (128, 128, 3, 3)
    # All that begin with the first network see as many images: an epoch of 24 iterations.
    iterations = {part: read_checkpoint(tmp_path / part / file)['meta']['iter'] for part, file in
                  dict(simclr='epoch_2.pth', longer='epoch_1.pth', cluster_batches='epoch_1.pth',
                       sdr='epoch_1.pth').items()}
    assert iterations == dict(simclr=48, longer=24, cluster_batches=24, sdr=24)
    assert any('none missing, none unexpected' in line for line in said)


def test_pool_that_is_too_small_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match='too few for 4 clusters'):
        run(MixedPool(folders / 'shapes', find_images(folders / 'shapes'), []), tmp_path, Recipe(), lambda line: None)


@pytest.mark.parametrize('per_class', [None, 3])
def test_images_that_score_never_choose_nor_train_and_are_in_one_part_each(folders, per_class):
    whole = choose_and_score(Task.from_folder(folders / 'shapes'))
    task = shapes(folders, per_class=per_class, parts=2)
    choose, *parts = task.splits
    assert len(parts) == 2 and all(part.train.tolist() == parts[0].train.tolist() for part in parts)
    assert sorted([*choose.train, *choose.test]) == parts[0].train.tolist()
    tested = [number for part in parts for number in part.test]
    assert sorted([*parts[0].train, *tested]) == list(range(len(task.labels)))
    assert all(set(task.labels[part.test]) == {0, 1} for part in parts)
    counts = [np.bincount(task.labels[numbers]).tolist() for numbers in (parts[0].train, np.array(tested))]
    assert counts == ([[8, 8], [4, 4]] if per_class is None else [[5, 5], [3, 3]])
    # What trains in the task that the pool was made of trains here.
    pictures = [np.asarray(Image.open(whole.paths[number]).convert('RGB').resize((32, 32), Image.Resampling.BICUBIC))
                for number in range(24)]
    for mine, theirs in ((parts[0].train, whole.splits[1].train), (tested, whole.splits[1].test)):
        known = [pictures[number] for number in theirs]
        assert all(min(np.abs(np.asarray(task.paths[number]).astype(int) - picture).max() for picture in known) <= 2
                   for number in mine)


def test_linear_probe_is_that_of_the_images_that_train():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = torch.from_numpy(labels[:, None] * 4. + random.normal(size=(60, 3))).float()
    labels[:10] = 1 - labels[:10]  # So that a probe of the images that choose is wrong about all others.
    splits = [Split(np.arange(10), np.arange(10, 40)), *(Split(np.arange(40), tests) for tests in (np.arange(40, 50),
                                                                                               np.arange(50, 60)))]
    task = Task('t', ['a', 'b'], [f'{number}.png' for number in range(60)], labels, splits)
    assert linear_scores(features, task) == [100, 100]
    task.labels[50:] = 1 - labels[50:]
    assert linear_scores(features, task) == [100, 0]


def ranking(scores):
    networks = [RankedNetwork(f'sub-net {number}', number, [number], 'pool', values)
                for number, values in enumerate(scores)]
    return Ranking.of('task', networks, {}, Cost(0, 0, 0))


def test_routed_subnet_is_chosen_on_the_first_split_and_scored_on_the_others():
    # Sub-net 1 chooses best, and sub-net 0 scores better.
    lines = subnet_lines([ranking([[50, 90, 30], [60, 10, 40]])], 'block')
    scores = {line.name: line.scores['task'] for line in lines}
    assert scores == {'mean sub-net': [50, 35], 'worst sub-net': [10, 40],
                      'best sub-net (chosen in hindsight)': [90, 30], 'routed sub-net': [10, 40]}


def test_of_equals_the_first_is_routed_to_whatever_the_images_that_score_say():
    # The second one scores better, so it comes first in the ranking.
    for scores in ([[50, 10], [50, 40]], [[50, 40], [50, 10]]):
        assert routed_subnet(ranking(scores)) == 0


def test_table_is_markdown_with_means_and_errors_under_the_title_of_each_block():
    lines = [Line('one', {'a': [10., 20.], 'b': [1., 1.]}, 'first'),
             Line('two', {'a': [0., 4.], 'b': [2., 8.]}, 'second')]
    text = table(lines)
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert rows[0] == ['accuracy in %', 'a', 'b', 'mean']
    assert rows[2:] == [['*first*', '', '', ''], ['one', '15.0 ± 5.0', '1.0 ± 0.0', '8.0 ± 2.5'],
                        ['*second*', '', '', ''], ['two', '2.0 ± 2.0', '5.0 ± 3.0', '3.5 ± 1.8']]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_error_of_a_mean_is_that_of_many_draws():
    draws = np.random.default_rng(0).normal(50, 3, (2000, 5))
    error = np.mean([float(mean_and_error([row]).split('±')[1]) for row in draws])
    assert error == pytest.approx(draws.mean(1).std(), rel=0.1)


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
    pool = demo.images(args)
    assert (pool.root, len(pool.names), [task.name for task in pool.tasks]) == (folders / 'pool', 96, ['shapes'])
    assert len(pool.tasks[0].splits) == 2


@pytest.mark.parametrize('given', [['--data', 'nowhere'], ['--data', 'empty'], ['--task', 'nowhere']])
def test_a_folder_that_cannot_be_used_costs_no_earlier_demo(folders, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    prepare_out(tmp_path / 'demo')
    (tmp_path / 'demo/table.md').write_text('earlier')
    with pytest.raises(InputError, match='^there (is no folder|are no images in the folder) .*: give (a|the) folder'):
        demo.main(['--out', 'demo', *given])
    assert (tmp_path / 'demo/table.md').read_text() == 'earlier'
