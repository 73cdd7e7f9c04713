"""The study's tables by hand, its splits, and the numbers that are kept beside the docs."""

import json

import numpy as np
import pytest
from repository import ROOT

from projects.study.__main__ import main
from projects.study.driver import measure
from projects.study.images import random_splits
from projects.study.plan import RUNS
from projects.study.tables import cells, tables
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Split, Task


def scores(**values):
    return {task: dict(knn=value, linear=value + 1) for task, value in values.items()}


def test_table_has_the_mean_over_seeds_and_tasks_by_hand():
    references = dict(run='references', tasks=dict(a=[8, 2], b=[8, 2]), scores={'raw pixels': scores(a=10.0, b=20.0)})
    runs = []
    for seed, a, b in ((0, 50.0, 60.0), (1, 54.0, 60.0)):
        subnets = dict(a=dict(subnets=[[99, a], [99, a - 4]]), b=dict(subnets=[[99, b], [99, b + 2]]))
        runs.append(dict(run='sdr16', seed=seed, scores=dict.fromkeys(('task', 'own'), scores(a=a, b=b)),
                         subnets=dict.fromkeys(('task', 'own'), subnets)))
    knn, linear, *_ = tables([references, *runs]).split('\n\n')[1::2]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in
            (line.strip('|').split('|') for line in knn.splitlines())}
    assert rows['raw pixels'] == ['10.0', '20.0', '15.0']
    # 50 and 54 deviate from 52 by 2.8; the means over tasks are 55 and 57.
    assert rows[RUNS['sdr16'].about] == ['52.0 ± 2.8', '60.0 ± 0.0', '56.0 ± 1.4']
    assert rows['– mean sub-net'] == ['50.0 ± 2.8', '61.0 ± 0.0', '55.5 ± 1.4']
    assert rows['– worst sub-net'][0] == '48.0 ± 2.8' and rows['– best sub-net'][1] == '62.0 ± 0.0'
    assert '53.0 ± 2.8' in linear and 'sub-net' not in linear.replace(RUNS['sdr16'].about, '')


def test_one_seed_has_no_deviation_and_no_results_no_table():
    assert cells([[1.0], [2.0]]) == ['1.0', '2.0', '1.5']
    assert tables([]) == 'no results yet'


def test_choosing_looks_at_no_image_that_scores_and_groups_stay_together():
    groups = np.repeat(np.arange(40), 3)
    task = Task('t', ['a', 'b'], [f'{number}.png' for number in range(120)], np.repeat([0, 1], 60),
                [Split(np.arange(100), np.arange(100, 120))], groups=groups)
    choose, score = random_splits(task)
    assert sorted([*score.train, *score.test]) == list(range(120)) and len(score.test) == 48
    assert sorted([*choose.train, *choose.test]) == score.train.tolist()
    for one, other in ((score.train, score.test), (choose.train, choose.test)):
        assert not {*groups[one]} & {*groups[other]}


def test_kept_numbers_are_of_runs_of_the_plan_and_of_all_tasks():
    files = {file.stem: json.loads(file.read_text()) for file in (ROOT / 'docs/study').glob('*.json')}
    tasks = list(files.pop('references')['tasks'])
    assert files
    for stem, result in files.items():
        assert stem == f'{result["run"]}-{result["seed"]}' and result['run'] in ('random', *RUNS)
        for bn in ('task', 'own'):
            assert list(result['scores'][bn]) == tasks
            for task, subnets in result.get('subnets', {}).get(bn, {}).items():
                chosen = np.array(subnets['subnets'])[:, 0]
                assert len(chosen) == 4**RUNS[result['run']].blocks and subnets['routed'] == chosen.argmax()
                assert result['scores'][bn][task]['knn'] == subnets['subnets'][subnets['routed']][1]


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
