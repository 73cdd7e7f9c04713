"""Studies: plans, tables by hand, all kinds of runs on small images, and the numbers that are kept beside the docs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from sklearn.neighbors import KNeighborsClassifier

from projects.demo.scoring import task_images
from projects.real_data.mixed import IN_POOL, choose_and_score
from projects.study import driver
from projects.study.__main__ import main
from projects.study.driver import measure
from projects.study.images import StudyImages
from projects.study.plan import RANDOM, Plan, read_plan
from projects.study.publish import score_table
from projects.study.tables import MARKERS, cells, read_results, tables
from projects.study.training import Training
from sdr_mm.clusters import Clusters
from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Split, Task, task_features
from sdr_mm.models.checkpoints import read_checkpoint, read_state_dict, stored_config
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNReset
from sdr_mm.space import SubnetSpace

PLANS = ROOT / 'configs/studies'
ROUTING = read_plan(PLANS / 'routing.py')
PAGES = dict(routing='docs/study.md', negative_transfer='docs/negative_transfer.md')
"""Plans of which numbers are kept, and the page with their tables."""


def scores(**values):
    return {task: dict(knn=value, linear=value + 1) for task, value in values.items()}


def test_table_has_the_mean_over_seeds_and_tasks_by_hand():
    references = dict(run='references', tasks=dict(a=[8, 2], b=[8, 2]), scores={'raw pixels': scores(a=10.0, b=20.0)})
    runs = []
    for seed, a, b in ((0, 50.0, 60.0), (1, 54.0, 60.0)):
        subnets = dict(a=dict(subnets=[[99, a], [99, a - 4]], supernet=a + 1),
                       b=dict(subnets=[[99, b], [99, b + 2]], supernet=40.0))
        runs.append(dict(run='sdr16', seed=seed, scores=dict.fromkeys(('task', 'own'), scores(a=a, b=b)),
                         subnets=dict.fromkeys(('task', 'own'), subnets)))
    knn, linear, *_ = tables(ROUTING, [references, *runs]).split('\n\n')[1::2]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in
            (line.strip('|').split('|') for line in knn.splitlines())}
    assert rows['raw pixels'] == ['10.0', '20.0', '15.0']
    # 50 and 54 deviate from 52 by 2.8; the means over tasks are 55 and 57.
    assert rows['SDR, 16 sub-nets (8)'] == ['52.0 ± 2.8', '60.0 ± 0.0', '56.0 ± 1.4']
    assert rows['– mean sub-net'] == ['50.0 ± 2.8', '61.0 ± 0.0', '55.5 ± 1.4']
    assert rows['– worst sub-net'][0] == '48.0 ± 2.8' and rows['– best sub-net'][1] == '62.0 ± 0.0'
    assert rows['– super-net'] == ['53.0 ± 2.8', '40.0 ± 0.0', '46.5 ± 1.4']
    assert '53.0 ± 2.8' in linear and 'sub-net' not in linear.replace('SDR, 16 sub-nets (8)', '')


def test_gains_are_differences_seed_by_seed_by_hand():
    references = dict(run='references', tasks=dict(a=[8, 2], b=[8, 2]), scores={})
    # 52 over 50 and 57 over 51 on the mean of the tasks: 2 and 6, which deviate from 4 by 2.83. Seed 2 has no partner.
    values = dict(longer={0: (40, 60), 1: (42, 60)}, sdr16={0: (44, 60), 1: (50, 64), 2: (99, 99)})
    runs = [dict(run=name, seed=seed, scores=dict.fromkeys(('task', 'own'), scores(a=a, b=b)))
            for name, seeds in values.items() for seed, (a, b) in seeds.items()]
    subnets = {task: dict(subnets=[[1, 2]], supernet=supernet) for task, supernet in dict(a=30.0, b=60.0).items()}
    for run in runs[2:]:
        run['subnets'] = dict(task=subnets, own=subnets)
    _, table, *_ = tables(ROUTING, [references, *runs]).split('\n\n')
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()[2:]]
    assert rows == [['SDR, 16 sub-nets (8)', 'SimCLR, trained on (8)', '2', *['+4.0 ± 2.8'] * 4],
                    ['– super-net', '', '', *['−5.5 ± 0.7', '–'] * 2]]


def test_one_seed_has_no_deviation_and_no_results_no_table():
    assert cells([[1.0], [2.0]]) == ['1.0', '2.0', '1.5']
    assert tables(ROUTING, []) == 'no results yet'


@pytest.mark.parametrize('name', PAGES)
def test_kept_numbers_are_of_runs_of_the_plan_and_of_all_tasks(name):
    plan = read_plan(PLANS / f'{name}.py')
    files = {file.stem: json.loads(file.read_text()) for file in (ROOT / 'docs/study' / plan.name).glob('*.json')}
    tasks = list(files.pop('references')['tasks'])
    assert tuple(tasks) == plan.tasks
    assert files
    for stem, result in files.items():
        assert stem == f'{result["run"]}-{result["seed"]}' and result['run'] in (RANDOM, *plan.runs)
        separate = result['run'] != RANDOM and plan.runs[result['run']].separate
        assert result['scores'].keys() == ({'task'} if separate else {'task', 'own'})
        for bn in result['scores']:
            assert list(result['scores'][bn]) == tasks
            for task, subnets in result.get('subnets', {}).get(bn, {}).items():
                chosen = np.array(subnets['subnets'])[:, 0]
                assert len(chosen) == 4**plan.runs[result['run']].blocks and subnets['routed'] == chosen.argmax()
                assert result['scores'][bn][task]['knn'] == subnets['subnets'][subnets['routed']][1]


@pytest.mark.slow
def test_runs_on_small_images_are_trained_once_and_written(tmp_path, monkeypatch, capsys):
    """Each kind of run for one pass over 560 pictures of four blots, and two tasks."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (560, 2, 2, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    (tmp_path / 'images').mkdir()
    names = [f'{number:03d}.png' for number in range(560)]
    for name, picture in zip(names, pictures):
        Image.fromarray(picture).save(tmp_path / 'images' / name)
    (tmp_path / 'pool.txt').write_text('\n'.join(names) + '\n')
    split = Split(np.arange(40), np.arange(40, 60))
    labels = pictures[:60, 0, 0].astype(np.int64) // 128  # By the first blot's red, and by its green.
    tasks = [choose_and_score(Task(name, ['a', 'b'], list(pictures[:60]), labels[:, channel], [split]))
             for channel, name in enumerate(('red', 'green'))]
    images = StudyImages(tmp_path / 'images', tmp_path / 'pool.txt', tasks)
    monkeypatch.setattr(driver, 'study_images', lambda out, tasks: images)
    names = ('baseline', 'simsiam', 'byol', 'cluster_batches', 'separate4', 'sdr4', 'wide_18', 'wide_18_weights',
             'wide_18_channels')
    runs = {name: replace(ROUTING.runs[name], epochs=1, blocks=1, over=()) for name in names}
    runs['sdr4_all'] = replace(runs['sdr4'], shared=True)
    plan = Plan('small', ('red', 'green'), runs)
    names = tuple(runs)
    measure(plan, tmp_path / 'out', tmp_path / 'results', [3], [RANDOM, *names])
    results = {result['run']: result for result in read_results(tmp_path / 'results')}
    assert sorted(results) == sorted(['random', 'references', *names])
    state = {name: set(read_state_dict(tmp_path / f'out/small/seed3/{name}/epoch_1.pth')) for name in names[1:3]}
    assert any(key.startswith('target_net.') for key in state['byol'])
    assert 'head.predictor.fc0.weight' in state['simsiam']
    shared, own = (read_checkpoint(tmp_path / f'out/small/seed3/{name}/epoch_1.pth') for name in ('sdr4_all', 'sdr4'))
    assert 'share_images=True' in shared['meta']['cfg'] and 'share_images=True' not in own['meta']['cfg']
    assert not torch.equal(*(part['state_dict']['backbone.conv1.weight'] for part in (shared, own)))
    plain, wide, weights, channels = (
        {key.removeprefix('backbone.'): value
         for key, value in read_state_dict(tmp_path / 'out/small/seed3' / file).items()
         if 'neck' not in key and 'head' not in key and value.ndim} for file in
        ('baseline/epoch_1.pth', 'wide_18/epoch_1.pth', 'wide_18_weights.pth', 'wide_18_channels.pth'))
    left = sum(int(value.count_nonzero()) for key, value in weights.items() if value.ndim == 4)
    norms = {name: sum(value.numel() for key, value in state.items() if value.ndim == 1) / 2
             for name, state in dict(plain=plain, wide=wide).items()}
    assert left + norms['wide'] == sum(value.numel() for value in plain.values() if value.ndim == 4) + norms['plain']
    kept = weights['conv1.weight'] != 0
    assert torch.equal(weights['conv1.weight'][kept], wide['conv1.weight'][kept])
    assert channels['conv1.weight'].shape[0] == 15
    for name in (f'layer{stage}.1.conv2.weight' for stage in (1, 2, 3, 4)):
        assert channels[name].shape == plain[name].shape
    iterations = {name: read_checkpoint(tmp_path / f'out/small/seed3/{name}/epoch_1.pth')['meta']['iter']
                  for name in ('baseline', 'cluster_batches', 'sdr4', 'separate4/0')}
    lists = [(tmp_path / f'out/small/seed3/separate4/{cluster}.txt').read_text().splitlines() for cluster in range(4)]
    assert sorted(sum(lists, [])) == images.list_file.read_text().splitlines()
    assert iterations == {'baseline': 4, 'cluster_batches': 4, 'sdr4': 4, 'separate4/0': len(lists[0]) // 128}
    weights = [read_state_dict(tmp_path / f'out/small/seed3/separate4/{cluster}/epoch_1.pth')['backbone.conv1.weight']
               for cluster in range(2)]
    assert not torch.equal(*weights)
    for name in ('separate4', 'sdr4', 'sdr4_all'):
        for task in ('red', 'green'):
            found = results[name]['subnets']['task'][task]
            assert len(found['subnets']) == 4
            assert results[name]['scores']['task'][task]['knn'] == found['subnets'][found['routed']][1]
    # Scored again by what the library shows its users.
    one = load_network(str(tmp_path / 'out/small/seed3/separate4/2/epoch_1.pth'))
    normalization = one.settings.normalization
    BNReset('task').apply(one.module, task_images(tasks[1]), normalization=normalization)
    features, _ = task_features(one.module, tasks[1], normalization=normalization, resize=32, size=32)
    probe = KNeighborsClassifier(20, metric='cosine', weights=lambda far: np.exp((1 - far) / 0.07))
    choose, score = tasks[1].splits
    expected = [100 * probe.fit(features[part.train], tasks[1].labels[part.train]).score(
        features[part.test], tasks[1].labels[part.test]) for part in (choose, score)]
    assert results['separate4']['subnets']['task']['green']['subnets'][2] == pytest.approx(expected, abs=0.01)
    baseline, sdr = (tmp_path / f'out/small/seed3/{name}/epoch_1.pth' for name in ('baseline', 'sdr4'))
    table = score_table({'one': baseline}, sdr, tasks)
    rows = {row[0].strip(): [float(cell) for cell in row[1:]] for row in
            (line.strip('|').split('|') for line in table.splitlines()[2:])}
    for name, column in dict(red=0, green=1).items():
        subnets = np.array(results['sdr4']['subnets']['task'][name]['subnets'])[:, 1]
        expected = [results['baseline']['scores']['task'][name]['knn'], results['sdr4']['scores']['task'][name]['knn'],
                    subnets.mean(), subnets.min(), subnets.max()]
        assert [rows[row][column] for row in ('one', 'routed sub-net', 'mean sub-net', 'worst sub-net',
                                              'best sub-net')] == pytest.approx(expected, abs=0.06)
    assert all(row[2] == pytest.approx(np.mean(row[:2]), abs=0.11) for row in rows.values())
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'results').iterdir()}
    measure(plan, tmp_path / 'out', tmp_path / 'results', [3], [RANDOM, *names])
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / 'results').iterdir()}


@pytest.mark.slow
def test_a_run_on_some_domains_sees_their_images_alone_as_often(tmp_path):
    random = np.random.default_rng(0)
    names = [f'{folder}/{number:03d}.png' for folder, count in dict(a=130, ab=100, b=300).items()
             for number in range(count)]
    for name in names:
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / 'images' / name)
    (tmp_path / 'pool.txt').write_text('\n'.join(names) + '\n')
    images = StudyImages(tmp_path / 'images', tmp_path / 'pool.txt', [])
    run = replace(ROUTING.runs['baseline'], epochs=2)
    batches = replace(ROUTING.runs['cluster_batches'], epochs=1, blocks=1)
    plan = Plan('small', (), dict(all=run, a=replace(run, domains=('a', )), small=replace(run, domains=('ab', )),
                                  on_all=replace(batches, start='all'), on_a=replace(batches, start='a')))
    training = Training(plan, 0, images, tmp_path / 'out')
    # 530 images are 4 batches of 128, twice; those of a are one.
    file = training.checkpoint_of('a')
    assert file.name == 'epoch_8.pth' and read_checkpoint(file)['meta']['iter'] == 8
    pool = load_pool(stored_config(read_checkpoint(file)), SubnetSpace(4, 1), need_clusters=False)
    assert pool.paths == [str(tmp_path / 'images' / name) for name in names[:130]]
    assert driver.pool_of(images, ('a', 'ab')).paths == [str(tmp_path / 'images' / name) for name in names[:230]]
    assert training.checkpoint_of('all').name == 'epoch_2.pth'
    # Each of the two divides the pool by the features of the network that it begins with.
    stored = [stored_config(read_checkpoint(training.checkpoint_of(name))) for name in ('on_all', 'on_a')]
    files = [config['train_dataloader']['dataset']['clusters'] for config in stored]
    assert not np.array_equal(*(Clusters.load(file).centroids for file in files))
    with pytest.raises(InputError, match='run small: the domains ab have 100 images of the pool, and a batch has 128'):
        training.checkpoint_of('small')


def test_plans_have_the_runs_that_others_begin_with_first():
    assert ROUTING.first == 'baseline' and ROUTING.runs['sdr64'].blocks == 3
    assert ROUTING.runs['sdr64'].options['model.backbone.routed_blocks'] == (1, 2, 3)
    assert ROUTING.runs['sdr16_hierarchical'].paths == 'hierarchical' and ROUTING.runs['sdr16'].paths == 'index'
    assert ROUTING.runs['sdr16_cold'].start == '' and ROUTING.runs['sdr16_cold'].epochs == 18
    transfer = read_plan(PLANS / 'negative_transfer.py')
    assert transfer.runs['only_emoji'].domains == ('pool', )
    assert sorted(transfer.runs['without_emoji'].domains) == sorted({*IN_POOL})
    assert transfer.runs['all'].domains == () and transfer.runs['without_sprites'].over == ('all', )


@pytest.mark.parametrize(('text', 'reason'), [
    ('runs = 3 +', 'cannot be read .SyntaxError'),
    ('tasks = ("sweet_home", )', 'is no plan of a study: it needs tasks, a list of names, and runs'),
    ('tasks = ("sweet_hom", )\nruns = dict(a=1)', "has the task 'sweet_hom', which is not prepared: choose among"),
    ('runs = {"../a": dict()}', "has a run '../a': its files cannot be named like that"),
    ('runs = dict(random=dict())', "has a run 'random'"),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", epoch=2))', 'run a has epoch: a run has config, epochs'),
    ('runs = dict(a=3)', 'run a has no entries: a run has config'),
    ('runs = dict(a=dict(config="c.py", epochs=1))', 'run a has no about: add it'),
    ('runs = dict(a=dict(config="c.py", epochs=True, about="a"))', 'run a: epochs cannot be True'),
    ('runs = dict(a=dict(config="d.py", epochs=1, about="a"))', r'run a: there is no config \S*/d.py'),
    ('runs = dict(a=dict(config="c.py", epochs=0, about="a"))', 'run a: epochs and blocks are at least 1'),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", clusters="kmeans"))', "clusters are .*, got 'kmeans'"),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", paths="x"))', "paths are .*, got 'x'"),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", start="b"))', 'needs the run b, which is not before it'),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", prune="weights"))', "prune is .* that start names, got"),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", shared=True))', 'shared and separate are of runs with'),
    ('runs = dict(a=dict(config="c.py", epochs=1, about="a", clusters="random", domains=("pool", )))',
     'domains are of runs without clusters'),
])
def test_a_plan_that_cannot_be_is_one_line(tmp_path, text, reason):
    (tmp_path / 'c.py').write_text('')
    plan = tmp_path / 'plan.py'
    plan.write_text(text if 'tasks' in text else f'tasks = ("sweet_home", )\n{text}')
    with pytest.raises(InputError, match=f'plan.py.*{reason}') as error:
        read_plan(plan)
    assert '\n' not in str(error.value)
    with pytest.raises(InputError, match='there is no plan .*other.py: give one of configs/studies'):
        read_plan(tmp_path / 'other.py')


@pytest.mark.parametrize('name', PAGES)
def test_page_of_a_study_has_the_tables_of_its_numbers(tmp_path, capsys, name):
    plan, page = str(PLANS / f'{name}.py'), (ROOT / PAGES[name]).read_text()
    copy = tmp_path / 'study.md'
    copy.write_text(page.replace(page[page.index(MARKERS[0]) + len(MARKERS[0]):page.index(MARKERS[1])], ' old '))
    main([plan, '--tables', '--page', str(copy)])
    assert copy.read_text() == page, f'run python -m projects.study {plan} --tables --page {PAGES[name]}'
    copy.write_text('no place')
    with pytest.raises(InputError, match='study.md has no place for the tables: put <!-- tables --> and'):
        main([plan, '--tables', '--page', str(copy)])
    assert copy.read_text() == 'no place'


def test_unknown_runs_and_damaged_numbers_are_one_line(tmp_path, capsys):
    with pytest.raises(InputError, match='no run sdr17: choose among random, baseline'):
        measure(ROUTING, tmp_path, tmp_path, [0], ['sdr17'])
    for text, reason in (
            ('{', 'cannot be read as JSON'), ('[]', 'is no result of the study .the result is .., not a record'),
            ('{"run": "sdr16", "scores": {"task": {"a": {"knn": "much"}}}}', 'knn is "much", not a finite number'),
            ('{"run": "sdr16", "scores": {"task": {"a": {"knn": 1, "linear": 1}}}}', 'is not of the tasks')):
        (tmp_path / 'sdr16-0.json').write_text(text)
        with pytest.raises(InputError, match=f'sdr16-0.json .*{reason}.*: remove it and run the study again'):
            main([str(PLANS / 'routing.py'), '--tables', '--results', str(tmp_path)])
