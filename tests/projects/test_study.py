"""The study's tables by hand, its splits, and the numbers that are kept beside the docs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from sklearn.neighbors import KNeighborsClassifier

from projects.demo.scoring import task_images
from projects.real_data.mixed import choose_and_score
from projects.study import driver
from projects.study.__main__ import main
from projects.study.driver import measure
from projects.study.images import StudyImages
from projects.study.plan import RUNS, _sdr
from projects.study.publish import score_table
from projects.study.tables import MARKERS, cells, read_results, tables
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Split, Task, task_features
from sdr_mm.models.checkpoints import read_checkpoint, read_state_dict
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import BNReset


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
    knn, linear, *_ = tables([references, *runs]).split('\n\n')[1::2]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in
            (line.strip('|').split('|') for line in knn.splitlines())}
    assert rows['raw pixels'] == ['10.0', '20.0', '15.0']
    # 50 and 54 deviate from 52 by 2.8; the means over tasks are 55 and 57.
    assert rows['SDR, 16 sub-nets (8)'] == ['52.0 ± 2.8', '60.0 ± 0.0', '56.0 ± 1.4']
    assert rows['– mean sub-net'] == ['50.0 ± 2.8', '61.0 ± 0.0', '55.5 ± 1.4']
    assert rows['– worst sub-net'][0] == '48.0 ± 2.8' and rows['– best sub-net'][1] == '62.0 ± 0.0'
    assert rows['– super-net'] == ['53.0 ± 2.8', '40.0 ± 0.0', '46.5 ± 1.4']
    assert '53.0 ± 2.8' in linear and 'sub-net' not in linear.replace('SDR, 16 sub-nets (8)', '')


def test_one_seed_has_no_deviation_and_no_results_no_table():
    assert cells([[1.0], [2.0]]) == ['1.0', '2.0', '1.5']
    assert tables([]) == 'no results yet'


def test_kept_numbers_are_of_runs_of_the_plan_and_of_all_tasks():
    files = {file.stem: json.loads(file.read_text()) for file in (ROOT / 'docs/study').glob('*.json')}
    tasks = list(files.pop('references')['tasks'])
    assert files
    for stem, result in files.items():
        assert stem == f'{result["run"]}-{result["seed"]}' and result['run'] in ('random', *RUNS)
        separate = result['run'] != 'random' and RUNS[result['run']].separate
        assert result['scores'].keys() == ({'task'} if separate else {'task', 'own'})
        for bn in result['scores']:
            assert list(result['scores'][bn]) == tasks
            for task, subnets in result.get('subnets', {}).get(bn, {}).items():
                chosen = np.array(subnets['subnets'])[:, 0]
                assert len(chosen) == 4**RUNS[result['run']].blocks and subnets['routed'] == chosen.argmax()
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
    monkeypatch.setattr(driver, 'study_images', lambda out: images)
    names = ('baseline', 'simsiam', 'byol', 'cluster_batches', 'separate4', 'sdr4', 'sdr16_all')
    for name in names:
        run = RUNS[name] if name != 'sdr16_all' else _sdr(RUNS[name].about, blocks=1, shared=True)
        monkeypatch.setitem(RUNS, name, replace(run, epochs=1, blocks=1))
    measure(tmp_path / 'out', tmp_path / 'results', [3], ['random', *names])
    results = {result['run']: result for result in read_results(tmp_path / 'results')}
    assert sorted(results) == sorted(['random', 'references', *names])
    state = {name: set(read_state_dict(tmp_path / f'out/seed3/{name}/epoch_1.pth')) for name in names[1:3]}
    assert any(key.startswith('target_net.') for key in state['byol'])
    assert 'head.predictor.fc0.weight' in state['simsiam']
    shared, own = (read_checkpoint(tmp_path / f'out/seed3/{name}/epoch_1.pth') for name in ('sdr16_all', 'sdr4'))
    assert 'share_images=True' in shared['meta']['cfg'] and 'share_images=True' not in own['meta']['cfg']
    assert not torch.equal(*(part['state_dict']['backbone.conv1.weight'] for part in (shared, own)))
    iterations = {name: read_checkpoint(tmp_path / f'out/seed3/{name}/epoch_1.pth')['meta']['iter']
                  for name in ('baseline', 'cluster_batches', 'sdr4', 'separate4/0')}
    lists = [(tmp_path / f'out/seed3/separate4/{cluster}.txt').read_text().splitlines() for cluster in range(4)]
    assert sorted(sum(lists, [])) == images.list_file.read_text().splitlines()
    assert iterations == {'baseline': 4, 'cluster_batches': 4, 'sdr4': 4, 'separate4/0': len(lists[0]) // 128}
    weights = [read_state_dict(tmp_path / f'out/seed3/separate4/{cluster}/epoch_1.pth')['backbone.conv1.weight']
               for cluster in range(2)]
    assert not torch.equal(*weights)
    for name in ('separate4', 'sdr4', 'sdr16_all'):
        for task in ('red', 'green'):
            found = results[name]['subnets']['task'][task]
            assert len(found['subnets']) == 4
            assert results[name]['scores']['task'][task]['knn'] == found['subnets'][found['routed']][1]
    # Scored again by what the library shows its users.
    one = load_network(str(tmp_path / 'out/seed3/separate4/2/epoch_1.pth'))
    normalization = one.settings.normalization
    BNReset('task').apply(one.module, task_images(tasks[1]), normalization=normalization)
    features, _ = task_features(one.module, tasks[1], normalization=normalization, resize=32, size=32)
    probe = KNeighborsClassifier(20, metric='cosine', weights=lambda far: np.exp((1 - far) / 0.07))
    choose, score = tasks[1].splits
    expected = [100 * probe.fit(features[part.train], tasks[1].labels[part.train]).score(
        features[part.test], tasks[1].labels[part.test]) for part in (choose, score)]
    assert results['separate4']['subnets']['task']['green']['subnets'][2] == pytest.approx(expected, abs=0.01)
    baseline, sdr = (tmp_path / f'out/seed3/{name}/epoch_1.pth' for name in ('baseline', 'sdr4'))
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
    measure(tmp_path / 'out', tmp_path / 'results', [3], ['random', *names])
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / 'results').iterdir()}


def test_page_of_the_study_has_the_tables_of_its_numbers(tmp_path, capsys):
    page = (ROOT / 'docs/study.md').read_text()
    copy = tmp_path / 'study.md'
    copy.write_text(page.replace(page[page.index(MARKERS[0]) + len(MARKERS[0]):page.index(MARKERS[1])], ' old '))
    main(['--tables', '--page', str(copy)])
    assert copy.read_text() == page, 'run python -m projects.study --tables --page docs/study.md'
    copy.write_text('no place')
    with pytest.raises(InputError, match='study.md has no place for the tables: put <!-- tables --> and'):
        main(['--tables', '--page', str(copy)])
    assert copy.read_text() == 'no place'


def test_unknown_runs_and_damaged_numbers_are_one_line(tmp_path, capsys):
    with pytest.raises(InputError, match='no run sdr17: choose among random, baseline'):
        measure(tmp_path, tmp_path, [0], ['sdr17'])
    for text, reason in (
            ('{', 'cannot be read as JSON'), ('[]', 'is no result of the study .the result is .., not a record'),
            ('{"run": "sdr16", "scores": {"task": {"a": {"knn": "much"}}}}', 'knn is "much", not a finite number'),
            ('{"run": "sdr16", "scores": {"task": {"a": {"knn": 1, "linear": 1}}}}', 'is not of the tasks')):
        (tmp_path / 'sdr16-0.json').write_text(text)
        with pytest.raises(InputError, match=f'sdr16-0.json .*{reason}.*: remove it and run the study again'):
            main(['--tables', '--results', str(tmp_path)])
