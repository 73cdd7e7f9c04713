"""The paper's Tables 1, 3 and 4 with numbers of our own: what is computed, stored, computed again and written."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import ResNet
from repository import ROOT
from routing_data import CLASSES, write
from sklearn.neighbors import KNeighborsClassifier

from projects.paper_tables import __main__ as tool
from projects.paper_tables import paper
from projects.paper_tables.classification import tabulate
from projects.paper_tables.evaluations import Column, evaluate_missing, evaluation_file, read_columns
from projects.paper_tables.rows import Row, baseline_rows
from projects.paper_tables.table import markdown
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Evaluation, Protocol, Split, Task, evaluate_network, load_task
from sdr_mm.evaluation.evaluate import task_fingerprint
from sdr_mm.evaluation.linear import linear_probe
from sdr_mm.images import IMAGENET, ImageStore
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.zoo import load_network

FAST = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu', '--batch-size', '8']
KNN = [*FAST, '--protocol', 'knn', '--k', '5']
SMALL = Protocol('knn', resize=32, size=32, k=(5, ))


def checkpoint(file, seed, prefix='', broken=False):
    torch.manual_seed(seed)
    network = ResNet(depth=18, base_channels=4, stem_channels=4)
    state = {f'{prefix}{key}': value for key, value in network.state_dict().items()}
    if broken:
        state[f'{prefix}bn1.weight'] = torch.full_like(state[f'{prefix}bn1.weight'], float('nan'))
    file.parent.mkdir(exist_ok=True)
    torch.save(state, file)
    return file


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    """Two networks, two folders and a config that is called as one of the paper's tasks."""
    root = tmp_path_factory.mktemp('tables')
    write(root / 'plain', CLASSES, 6, 2)
    for part, seed in (('train', 3), ('val', 4), ('test', 5)):
        write(root / 'official' / part, CLASSES, 5, seed)
    lines = [f"name = 'DTD'\ndata_root = '{root}/official'\n"]
    lines += [f"{part} = dict(type='CustomDataset', data_prefix='{part}')\n" for part in ('train', 'val', 'test')]
    (root / 'dtd.py').write_text(''.join(lines))
    for seed in (1, 2):
        checkpoint(root / f'{seed}.pth', seed)
    return root


@pytest.fixture
def root(original, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(original, tmp_path / 'run')
    config = tmp_path / 'run' / 'dtd.py'
    config.write_text(config.read_text().replace(str(original), str(tmp_path / 'run')))
    return tmp_path / 'run'


def networks(root):
    return ['--networks', f'first={root}/1.pth', f'second={root}/2.pth']


def tasks(root):
    return ['--tasks', str(root / 'plain'), str(root / 'official')]


def table(root, *options, out='out', status=0):
    """Runs the tool and gives back the table as JSON."""
    arguments = [*networks(root), *tasks(root), *KNN, *map(str, options), '--out', str(root / out)]
    if status:
        with pytest.raises(InputError):
            tool.main(arguments)
    else:
        tool.main(arguments)
    return json.loads((root / out / 'table.json').read_text())


def counts(capsys):
    """(computed, stored, failed) as the tool printed them, and what it said on the way."""
    printed = capsys.readouterr()
    found = re.findall(r'evaluations: (\d+) computed, (\d+) stored before, (\d+) failed', printed.out)
    return tuple(map(int, found[-1])), printed.err.splitlines()


def scores(content):
    return {(row['network'], task): entry['ours'] for row in content['rows'] for task, entry in row['scores'].items()}


# The paper


def test_each_average_of_the_paper_is_the_mean_of_its_row():
    for table, size, exceptions in ((paper.TABLE1, 18, {'InsDis': 0.0055}), (paper.TABLE3, 6, {})):
        slips = {name: row.average - np.mean(list(row.scores.values())) for name, row in table.rows.items()}
        assert {name: round(slip, 4) for name, slip in slips.items() if abs(slip) > 0.005 + 1e-9} == exceptions
        assert len(slips) == size and all([*row.scores] == [*paper.TASKS] for row in table.rows.values())
    assert len(paper.TASKS) == 11


def test_gains_that_the_paper_prints_are_differences_of_its_rows():
    first, second = paper.TABLE1.rows, paper.TABLE2.rows
    for name, baseline, gain in (('SDR (SimSiam)', 'SimSiam', 2.38), ('SDR (BYOL)', 'BYOL (400 epochs)', 2.28)):
        assert first[name].average - first[baseline].average == pytest.approx(gain)
    for name, baseline, gains in (('SDR (SimSiam)', 'SimSiam', (1.48, 1.07, 1.31)),
                                  ('SDR (BYOL)', 'BYOL', (0.78, 0.86, 0.90))):
        assert [second[name].scores[key] - second[baseline].scores[key] for key in ('AP', 'AP50', 'AP75')
                ] == pytest.approx(gains)
    assert len(second) == 17 and all(50 < row.scores['AP50'] > row.scores['AP75'] > row.scores['AP'] > 40
                                     for row in second.values())


def test_tables_of_the_paper_agree_on_what_two_of_them_have():
    for name in ('SimSiam', 'SDR (SimSiam)'):
        assert paper.TABLE3.rows[name].scores == paper.TABLE1.rows[name].scores
        assert paper.TABLE3.rows[name].average == paper.TABLE1.rows[name].average
    # Section 5.3: 58.13 with 256 sub-nets, "a total training cost less than twice of the SSL baseline".
    rows = list(paper.TABLE4.rows.values())
    assert [row.facts for row in rows] == [('1', '260', '1.00'), ('4', '370', '1.42'), ('16', '400', '1.54'),
                                           ('64', '460', '1.77'), ('256', '500', '1.92')]
    assert [row.average for row in rows] == [53.42, 55.77, 56.83, 57.83, 58.13]


def test_the_columns_are_the_tasks_of_our_configs():
    assert {path.stem for path in tool.CONFIGS.glob('*.py')} >= set(paper.TASKS)


def test_an_average_of_the_paper_is_over_the_tasks_that_are_shown():
    row = paper.TABLE1.rows['SwAV']
    assert row.mean(list(paper.TASKS)) == 77.09
    assert row.mean(['dtd', 'food101']) == pytest.approx((78.09 + 75.92) / 2)
    assert row.mean(['dtd', 'my_images']) is None


# What is computed


def features(file, task):
    network, _ = load_resnet(file)
    store = ImageStore(task.paths, resize=32, size=32)
    with torch.no_grad():
        x = (torch.tensor(store.get(np.arange(len(store)))).float() - torch.tensor(IMAGENET.mean)) / torch.tensor(
            IMAGENET.std)
        return network(x.permute(0, 3, 1, 2))[-1].mean((2, 3))


def test_knn_scores_are_those_of_scikit_learn(root):
    content = table(root)
    found = scores(content)
    for name, file in (('first', '1.pth'), ('second', '2.pth')):
        for place in ('plain', 'official'):
            task = load_task(root / place)
            train, test = task.splits[0].scoring()
            x = features(root / file, task).double().numpy()
            knn = KNeighborsClassifier(5, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07))
            expected = 100 * knn.fit(x[train], task.labels[train]).score(x[test], task.labels[test])
            assert found[name, place] == pytest.approx(expected), (name, place)
    for row in content['rows']:
        mean = np.mean([found[row['network'], place] for place in ('plain', 'official')])
        assert row['average']['ours'] == pytest.approx(mean)


def test_linear_scores_are_those_of_the_linear_probe_and_say_their_l2(root):
    tool.main([*networks(root), *tasks(root), *FAST, '--out', str(root / 'linear')])
    content = json.loads((root / 'linear' / 'table.json').read_text())
    for row, file in zip(content['rows'], ('1.pth', '2.pth')):
        task = load_task(root / 'official')
        result = linear_probe(features(root / file, task), task.labels, task.splits[0], num_classes=2)
        assert row['scores']['official']['ours'] == pytest.approx(result.score)
        assert row['scores']['official']['l2'] == pytest.approx([result.l2])
    assert content['settings'] == dict(protocol='linear', resize=32, size=32)


def test_images_of_one_group_are_held_out_together(root):
    for number, path in enumerate(sorted((root / 'plain' / CLASSES[0]).iterdir())):
        (path.parent / f'unit{number % 3}').mkdir(exist_ok=True)
        path.rename(path.parent / f'unit{number % 3}' / path.name)
    task = load_task(root / 'plain')
    x = features(root / '1.pth', task)
    found = evaluate_network(load_network(str(root / '1.pth')), task, Protocol(resize=32, size=32), workers=1)
    whole = linear_probe(x, task.labels, task.splits[0], num_classes=2, groups=task.groups)
    assert found.splits[0]['l2'] == whole.l2
    assert [entry['score'] for entry in found.splits[0]['val_scores']] == list(whole.val_scores.values())
    apart = linear_probe(x, task.labels, task.splits[0], num_classes=2)
    assert list(apart.val_scores.values()) != list(whole.val_scores.values())


def test_sizes_and_neighbors_are_those_that_fit_the_network_unless_others_are_given():
    small = EvalSettings(resize=36, size=32, k=20)
    sizes = dict(resize=256, size=224)
    for protocol, network, expected in (
            (Protocol('linear'), EvalSettings(), dict(resize=224, size=224)),
            (Protocol('linear'), small, dict(resize=32, size=32)),
            (Protocol('linear', resize=36), small, dict(resize=36, size=32)),
            (Protocol('linear', size=64), small, dict(resize=64, size=64)),
            (Protocol('knn'), EvalSettings(), dict(sizes, k=[200], temperature=0.07)),
            (Protocol('knn'), small, dict(resize=36, size=32, k=[20])),
            (Protocol('knn', **sizes, k=(5, 1)), small, dict(sizes, k=[5, 1]))):
        assert protocol.settings(network).items() >= expected.items()
    for wrong in (Protocol('knn', size=64), Protocol('linear', resize=0), Protocol('linear', size=0)):
        with pytest.raises(InputError, match='0 < size <= resize'):
            wrong.settings(small)


def test_an_evaluation_is_read_as_it_was_written_and_nothing_else_is(root):
    task = load_task(root / 'plain', splits=2)
    found = evaluate_network(load_network(str(root / '1.pth')), task, SMALL, name='first', workers=1)
    found.save(root / 'one.json')
    assert Evaluation.load(root / 'one.json') == found
    assert found.mean == np.mean(found.scores['k = 5']) and found.deviation == np.std(found.scores['k = 5'])
    content = json.loads((root / 'one.json').read_text())
    for broken in ('{"format"', '[]', json.dumps({**content, 'format': 'sdr_mm evaluation 0'}),
                   json.dumps({**content, 'scores': {'k = 5': ['a']}}), json.dumps({**content, 'scores': 3}),
                   json.dumps({**content, 'scores': {'k = 5': [float('nan')]}}), json.dumps({**content, 'new': 1})):
        (root / 'other.json').write_text(broken)
        with pytest.raises(InputError, match='evaluate again'):
            Evaluation.load(root / 'other.json')


def test_several_splits_give_a_mean_and_a_deviation(root):
    content = table(root, '--splits', 3)
    text = (root / 'out' / 'table.md').read_text()
    for row in content['rows']:
        entry = row['scores']['plain']
        assert f'{entry["ours"]:.2f} ± {entry["deviation"]:.2f}' in text
        assert row['scores']['official']['deviation'] is None
    path, = (root / 'out' / 'evaluations').glob('first-plain-*')
    assert np.std(Evaluation.load(path).scores['k = 5']) == content['rows'][0]['scores']['plain']['deviation']
    assert 'plain: mean ± standard deviation over 3 random splits' in text


def test_a_row_may_have_another_network_on_each_task(root):
    shutil.copy(root / '1.pth', root / 'plain.pth')
    shutil.copy(root / '2.pth', root / 'official.pth')
    found = scores(table(root, '--networks', f'first={root}/1.pth', f'second={root}/2.pth', f'SDR={root}/{{task}}.pth'))
    assert found['SDR', 'plain'] == found['first', 'plain'] and found['SDR', 'official'] == found['second', 'official']


# What is stored


def test_a_second_call_computes_only_what_is_missing(root, capsys):
    before = table(root)
    assert counts(capsys)[0] == (4, 0, 0)
    assert table(root) == before
    assert counts(capsys) == ((0, 4, 0), [])
    checkpoint(root / '3.pth', 3)
    table(root, '--networks', f'third={root}/3.pth', f'second={root}/2.pth')
    assert counts(capsys)[0] == (2, 2, 0)


def test_a_failing_evaluation_is_named_the_others_are_computed_and_it_alone_is_later(root, capsys):
    (root / 'plain.pth').write_bytes(b'cut short')
    shutil.copy(root / '2.pth', root / 'official.pth')
    row = ['--networks', f'first={root}/1.pth', f'routed={root}/{{task}}.pth']
    content = table(root, *row, status=2)
    found, lines = counts(capsys)
    assert found == (3, 0, 1)
    failed = [line for line in lines if 'no result' in line]
    assert len(failed) == 1 and failed[0].startswith('[3/4] routed on plain: no result: ') and 'plain.pth' in failed[0]
    assert content['rows'][1]['average'] == dict(ours=None, deviation=None, paper=None, difference=None, tasks=1, of=2)
    text = (root / 'out' / 'table.md').read_text()
    assert re.search(r'\| routed +\| +– \|.* 1/2 \|', text) and '- routed on plain: no result: ' in text
    shutil.copy(root / '2.pth', root / 'plain.pth')
    content = table(root, *row)
    assert counts(capsys)[0] == (1, 3, 0)
    assert content['rows'][1]['average']['tasks'] == 2


def test_an_interruption_loses_no_evaluation_that_is_ready(root):
    rows = [Row('first', f'{root}/1.pth'), Row('second', f'{root}/2.pth')]
    columns = read_columns([root / 'plain', root / 'official'])
    lines = []

    def interrupt(line):
        lines.append(line)
        if line.startswith('[3/4]'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_missing(rows, columns, SMALL, root / 'out', batch_size=8, workers=1, say=interrupt)
    assert lines[-1] == f'interrupted: what was computed is in {root / "out"}, the same command resumes from there'
    found, computed = evaluate_missing(rows, columns, SMALL, root / 'out', batch_size=8, workers=1)
    assert computed == 1 and len(found) == 4 and all(isinstance(one, Evaluation) for one in found.values())


def test_an_evaluation_whose_checkpoint_or_task_has_changed_is_computed_again(root, capsys):
    table(root)
    checkpoint(root / '2.pth', 7)
    capsys.readouterr()
    table(root)
    found, lines = counts(capsys)
    assert found == (2, 2, 0)
    assert lines[0] == ('[3/4] second on plain: the stored evaluation was computed with another network, it is '
                        'computed again')
    (root / 'plain' / CLASSES[0] / f'{CLASSES[0]}000.png').unlink()
    table(root)
    found, lines = counts(capsys)
    assert found == (2, 2, 0)
    assert sum('was computed with other images, labels or splits' in line for line in lines) == 2
    next((root / 'out' / 'evaluations').glob('first-plain-*')).write_text('{"format"')
    table(root)
    found, lines = counts(capsys)
    assert found == (1, 3, 0) and 'cannot be read' in lines[0]


def test_the_same_file_under_another_name_and_place_is_the_same_network(root, capsys):
    table(root)
    (root / 'moved').mkdir()
    for name in ('1.pth', '2.pth', 'plain', 'official'):
        (root / name).rename(root / 'moved' / name)
    capsys.readouterr()
    moved = root / 'moved'
    tool.main([*networks(moved), *tasks(moved), *KNN, '--out', str(root / 'out')])
    assert counts(capsys)[0] == (0, 4, 0)


def test_a_task_is_known_by_its_images_labels_splits_and_metric():
    images = [np.full((2, 3, 3), value, np.uint8) for value in range(4)]
    labels = np.array([0, 1, 0, 1])
    split = Split(np.array([0, 1]), np.array([2, 3]))
    prints = {
        task_fingerprint(Task('name', ['a', 'b'], *parts)) for parts in (
            (images, labels, [split]),
            (images[::-1], labels, [split]),
            (images, 1 - labels, [split]),
            (images, labels, [Split(split.test, split.train)]),
            (images, labels, [Split(split.train, split.test[:1], split.test[1:])]),
            (images, labels, [split], 'mean_per_class'),
            (images, labels, [split], 'accuracy', np.array([0, 1, 0, 1])),
            (['x/1.png', 'x/2.png', 'y/1.png', 'y/2.png'], labels, [split]),
            (['x/1.png', 'x/2.png', 'y/1.png', 'y/3.png'], labels, [split]),
        )
    }
    assert len(prints) == 9
    assert task_fingerprint(Task('other', ['a', 'b'], images, labels, [split])) in prints
    moved = ['/elsewhere/x/1.png', '/elsewhere/x/2.png', '/elsewhere/y/1.png', '/elsewhere/y/2.png']
    assert task_fingerprint(Task('name', ['a', 'b'], moved, labels, [split])) in prints


def test_names_and_options_that_differ_in_a_character_have_files_of_their_own(tmp_path):
    files = {evaluation_file(tmp_path, row, 'dtd', SMALL)
             for row in ('SDR (BYOL)', 'SDR [BYOL]', 'sdr/BYOL', '../SDR BYOL')}
    files.add(evaluation_file(tmp_path, 'SDR (BYOL)', 'dtd', Protocol('knn', resize=32, size=32, k=(20, ))))
    assert len(files) == 5 and {file.parent.parent for file in files} == {tmp_path}


# What may go wrong in an evaluation


def test_features_with_nan_cost_their_evaluations_only(root, capsys):
    checkpoint(root / '2.pth', 2, broken=True)
    content = table(root, status=2)
    found, lines = counts(capsys)
    assert found == (2, 0, 2)
    assert sum('second on' in line and 'not finite' in line for line in lines) == 2
    assert scores(content)['first', 'official'] is not None


def test_a_corrupt_image_costs_its_task_or_is_left_out_and_counted(root, capsys):
    image = root / 'plain' / CLASSES[0] / f'{CLASSES[0]}000.png'
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    table(root, status=2)
    found, lines = counts(capsys)
    assert found == (2, 0, 2) and sum(str(image) in line for line in lines) == 2
    content = table(root, '--on-error', 'skip')
    assert counts(capsys)[0] == (2, 2, 0)
    assert 'plain: 1 images could not be decoded and were left out.' in content['notes']
    table(root, '--on-error', 'skip')
    assert counts(capsys)[0] == (0, 4, 0)
    image.write_bytes(whole)
    content = table(root)
    found, lines = counts(capsys)
    assert found == (2, 2, 0) and 'left out 1 images' in lines[0]
    assert not any('decoded' in note for note in content['notes'])


def test_a_task_that_cannot_be_read_leaves_the_others(root, capsys):
    shutil.rmtree(root / 'official' / 'test')
    content = table(root, '--tasks', root / 'plain', root / 'dtd.py', status=2)
    found, lines = counts(capsys)
    assert found == (2, 0, 0) and sum(line.startswith('DTD cannot be read: ') for line in lines) == 1
    assert [task['error'] is None for task in content['columns']] == [True, False]


# What is written


def test_markdown_csv_and_json_agree(root):
    tool.main(['--networks', f'SimSiam={root}/1.pth', f'mine={root}/2.pth', '--tasks', str(root / 'plain'),
               str(root / 'dtd.py'), *FAST, '--out', str(root / 'out')])
    content = json.loads((root / 'out' / 'table.json').read_text())
    rows = list(csv.DictReader(io.StringIO((root / 'out' / 'table.csv').read_text())))
    expected = {}
    for row in content['rows']:
        entries = {column['title']: row['scores'][column['name']] for column in content['columns']}
        entries['Avg.'] = row['average']
        for title, entry in entries.items():
            expected[row['network'], title] = entry
    assert {(row['network'], row['column']) for row in rows} == set(expected) and len(rows) == len(expected) == 6
    for row in rows:
        for key in ('ours', 'deviation', 'paper', 'difference'):
            number = expected[row['network'], row['column']][key]
            assert row[key] == '' if number is None else float(row[key]) == pytest.approx(number, abs=1e-4)
    lines = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in (root / 'out' / 'table.md').read_text().splitlines() if line.startswith('|')]
    assert lines[0] == ['network', 'epochs', '', 'plain', 'DTD', 'Avg.']
    kinds, name = {}, ''
    for line in lines[2:]:
        name = line[0] or name
        kinds[name, line[2]] = [re.sub(r'[*]|</?u>', '', cell) for cell in line[3:]]
    assert set(kinds) == {('SimSiam', 'ours'), ('SimSiam', 'paper'), ('SimSiam', 'difference'), ('mine', 'ours')}
    for (name, kind), values in kinds.items():
        for title, value in zip(('plain', 'DTD', 'Avg.'), values):
            number = expected[name, title][kind]
            assert value == '–' if number is None else float(value) == pytest.approx(number, abs=0.00501)
    # The paper has DTD but not the folder, so no average of it can stand beside ours.
    assert kinds['SimSiam', 'paper'] == ['–', '72.99', '–']
    # How long it was pre-trained is what the paper says of its network, not of ours.
    assert lines[2][:3] == ['SimSiam', '', 'ours'] and lines[3][:3] == ['', '200', 'paper']
    assert lines[5][:2] == ['mine', '']
    assert "- The paper's Table 1 has no row mine." in (root / 'out' / 'table.md').read_text()


def made_columns(keys=tuple(paper.TASKS)):
    images = [np.zeros((1, 1, 3), np.uint8)] * 4
    task = Task('made', ['a', 'b'], images, np.array([0, 1, 0, 1]), [Split(np.array([0, 1]), np.array([2, 3]))])
    return [Column(key, True, task) for key in keys]


LARGE = EvalSettings()


def made(name, score, protocol, train=300, network=LARGE):
    settings = protocol.settings(network)
    return Evaluation(name, 'made', 'accuracy', settings, {}, {'k = 5': [score]}, 2, train, 100, 0, 1.)


def made_table(values, keys=('dtd', 'food101'), protocol=SMALL, published=None):
    """A table from numbers: ``{network: {task: score}}``."""
    found = {(name, key): made(name, score, protocol) for name, row in values.items() for key, score in row.items()}
    published = published or (paper.TABLE1 if protocol.name == 'linear' else paper.TABLE4)
    return tabulate([Row(name, f'{name}.pth') for name in values], made_columns(keys), protocol, found, published)


def test_best_and_second_are_marked_in_each_column_the_supervised_network_apart():
    text = markdown(made_table({
        'Supervised': dict(dtd=90., food101=95.),
        'A': dict(dtd=70.001, food101=60.),
        'B': dict(dtd=70.004, food101=50.),
        'C': dict(dtd=65., food101=40.),
        'D': dict(dtd=64.),
    }))
    body = {line.split('|')[1].strip(): [cell.strip() for cell in line.split('|')[2:-1]]
            for line in text.splitlines() if line.startswith('|')}
    assert body['Supervised'] == ['90.00', '95.00', '92.50']
    # Two that print the same share a place.
    assert body['A'] == ['**70.00**', '**60.00**', '**65.00**']
    assert body['B'] == ['**70.00**', '<u>50.00</u>', '<u>60.00</u>']
    assert body['C'] == ['<u>65.00</u>', '40.00', '52.50']
    assert body['D'] == ['64.00', '–', '1/2']
    assert 'Supervised apart' in text


def test_averages_are_compared_over_the_same_tasks():
    linear = Protocol('linear')
    row = made_table({'SwAV': dict(dtd=70., food101=80.)}, protocol=linear)['rows'][0]
    assert row['average']['ours'] == 75 and row['average']['paper'] == pytest.approx((78.09 + 75.92) / 2)
    assert row['scores']['dtd']['difference'] == pytest.approx(70 - 78.09) and row['facts'] == dict(epochs='400')
    complete = dict.fromkeys(paper.TASKS, 70.)
    row = made_table({'SwAV': complete}, tuple(paper.TASKS), linear)['rows'][0]
    assert row['average']['paper'] == 77.09 and row['average']['difference'] == pytest.approx(-7.09)
    row = made_table({'SwAV': {**complete, 'dtd': 80.}, }, tuple(paper.TASKS)[:-1], linear)['rows'][0]
    assert row['average']['paper'] == pytest.approx(np.mean(list(paper.TABLE1.rows['SwAV'].scores.values())[:-1]))


def test_knn_is_compared_with_the_averages_that_the_paper_has():
    complete = dict.fromkeys(paper.TASKS, 50.)
    values = {'SimSiam': complete, 'SDR (SimSiam), 16 sub-nets': complete, 'SDR (SimSiam)': complete, 'SwAV': complete}
    content = made_table(values, tuple(paper.TASKS), Protocol('knn'))
    lines = content['rows']
    assert [line['average']['paper'] for line in lines] == [53.42, 56.83, 58.13, None]
    assert lines[1]['facts'] == {'sub-nets': '16', 'GPU hours': '400', 'times the baseline': '1.54'}
    assert lines[1]['average']['difference'] == pytest.approx(50 - 56.83)
    assert content['notes'] == ["The paper's Table 4 has no row SwAV."]
    assert all(entry['paper'] is None for line in lines for entry in line['scores'].values())
    for keys, protocol in ((tuple(paper.TASKS), SMALL), (tuple(paper.TASKS)[1:], Protocol('knn'))):
        assert not any(line['compared'] for line in made_table(values, keys, protocol)['rows'])


def test_another_k_of_one_network_takes_the_papers_averages_from_it_alone():
    protocol, columns = Protocol('knn'), made_columns()
    names = ['SimSiam', 'SDR (SimSiam)', 'SDR (SimSiam), 4 sub-nets']
    small = EvalSettings(resize=36, size=32, k=20)
    found = {(name, column.key): made(name, 50., protocol, network=network)
             for name, network in ((names[0], LARGE), (names[1], small)) for column in columns}
    rows = [Row(names[0], 'a.pth'), Row(names[1], 'b.pth'), Row(names[2])]
    lines = tabulate(rows, columns, protocol, found, paper.TABLE4)['rows']
    assert [line['average']['paper'] for line in lines] == [53.42, None, 55.77]


def test_rows_of_table_3_are_compared_by_their_names_in_it():
    complete = dict.fromkeys(paper.TASKS, 60.)
    values = {'SDR (random clusters)': complete, 'SimSiam 56.3M pruned to 22.6M': complete, 'SwAV': complete}
    content = made_table(values, tuple(paper.TASKS), Protocol('linear'), paper.TABLE3)
    random, pruned, other = content['rows']
    assert random['average']['paper'] == 70.70 and random['scores']['dtd']['paper'] == 72.29
    assert random['facts'] == {'data set': 'Random', 'parameters': '22.6M'}
    assert pruned['scores']['sun397']['difference'] == pytest.approx(60 - 32.72) and not other['compared']
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in markdown(content).splitlines()
             if line.startswith('|')]
    assert lines[0][:4] == ['network', 'data set', 'parameters', '']
    assert lines[3][:4] == ['', 'Random', '22.6M', 'paper']
    assert content['notes'] == ["The paper's Table 3 has no row SwAV."]


def test_the_table_is_that_of_the_protocol_and_all_its_rows_can_be_had(root):
    for options, number, rows in ((['--protocol', 'knn', '--k', '5'], 4, paper.TABLE4),
                                  (['--table', '4', '--k', '5'], 4, paper.TABLE4),
                                  (['--table', '3'], 3, paper.TABLE3), ([], 1, paper.TABLE1)):
        tool.main(['--networks', f'mine={root}/1.pth', '--tasks', str(root / 'dtd.py'), *FAST, *options, '--all-rows',
                   '--out', str(root / 'out')])
        content = json.loads((root / 'out' / 'table.json').read_text())
        assert content['paper_table'] == number
        assert content['settings']['protocol'] == ('knn' if number == 4 else 'linear')
        assert [row['network'] for row in content['rows']] == [*rows.rows, 'mine']
        assert content['rows'][-1]['average']['ours'] is not None
        shown = [row['scores']['dtd']['paper'] for row in content['rows'][:-1]]
        assert shown == [row.scores.get('dtd') for row in rows.rows.values()]


def test_networks_of_different_sizes_share_a_table_that_says_so():
    columns, protocol = made_columns(('dtd', )), Protocol('knn')
    rows = [Row('small', 'small.pth'), Row('large', 'large.pth')]
    found = {('small', 'dtd'): made('small', 50., protocol, 15, EvalSettings(resize=36, size=32, k=20)),
                ('large', 'dtd'): made('large', 60., protocol, 15)}
    table = tabulate(rows, columns, protocol, found, paper.TABLE4)
    assert table['settings'] == dict(protocol='knn', temperature=0.07)
    assert 'k = what fits each network, T = 0.07; images of the size that fits each network' in markdown(table)
    assert 'DTD: k = 15, the number of training images.' in table['notes']


def test_a_folder_that_is_called_as_a_task_of_the_paper_is_not_compared(root):
    (root / 'plain').rename(root / 'dtd')
    columns = read_columns([root / 'dtd', root / 'official'])
    rows = [Row('SimSiam', f'{root}/1.pth')]
    linear = Protocol('linear')
    found = {('SimSiam', column.key): made('SimSiam', 50., linear) for column in columns}
    assert not tabulate(rows, columns, linear, found, paper.TABLE1)['rows'][0]['compared']


def test_the_papers_rows_stand_there_with_and_without_a_weight_file(root):
    weights = root / 'weights'
    checkpoint(weights / 'swav_400ep_pretrain.pth.tar', 5, 'module.')
    checkpoint(weights / 'pretrain_res50x1.pth.tar', 6)
    tool.main(['--weights', str(weights), '--networks', f'SDR (SimSiam)={root}/1.pth', f'mine={root}/2.pth', '--tasks',
               str(root / 'dtd.py'), *FAST, '--out', str(root / 'out')])
    content = json.loads((root / 'out' / 'table.json').read_text())
    assert [row['network'] for row in content['rows']] == [*paper.TABLE1.rows, 'mine']
    ours = {row['network'] for row in content['rows'] if row['average']['ours'] is not None}
    assert ours == {'SwAV', 'SDR (SimSiam)', 'BYOL (400 epochs)', 'mine'}
    shown = {row['network']: row['scores']['dtd']['paper'] for row in content['rows'][:-1]}
    assert shown == {name: row.scores['dtd'] for name, row in paper.TABLE1.rows.items()}
    notes = {note.partition(':')[0]: note for note in content['notes']}
    assert 'has no moco_v2_800ep_pretrain.pth.tar (from github.com/facebookresearch/moco)' in notes['MoCo-v2']
    assert 'a file of 1000 epochs' in notes['BYOL (400 epochs)'] and '--networks' in notes['SDR (BYOL)']
    assert 'SwAV' not in notes and 'mine' not in notes
    text = (root / 'out' / 'table.md').read_text()
    assert re.search(r'\| MoCo-v2 +\| +800 \| paper +\| +73.88 \| +73.88 \|', text)


def test_of_several_files_for_a_row_the_first_that_is_there_counts(root):
    (root / 'checkpoint_0099.pth.tar').touch()
    rows = {row.name: row for row in baseline_rows(root)}
    assert rows['SimSiam'].spec == f'baseline:SimSiam-100@{root}/checkpoint_0099.pth.tar'
    assert rows['SimSiam'].note.startswith('a file of 100 epochs')


# Several processes


@pytest.mark.slow
def test_two_processes_share_the_evaluations_and_find_what_one_finds(root, monkeypatch):
    checkpoint(root / '2.pth', 2, broken=True)
    alone = table(root, out='one', status=2)
    for name, value in dict(WORLD_SIZE='2', RANK='0').items():
        monkeypatch.setenv(name, value)
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    arguments = [*networks(root), *tasks(root), *KNN, '--out', str(root / 'two')]
    second = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-m', 'projects.paper_tables', *arguments],
        env=dict(os.environ, RANK='1', LOCAL_RANK='1', OMP_NUM_THREADS='1', PYTHONPATH=path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows = [Row('first', f'{root}/1.pth'), Row('second', f'{root}/2.pth')]
    columns = read_columns([root / 'plain', root / 'official'])
    lines = []

    def say(line):
        lines.append(line)
        second.wait(timeout=120)  # The other process takes all that this one leaves.

    found, computed = evaluate_missing(rows, columns, SMALL, root / 'two', batch_size=8, workers=1, say=say)
    printed, errors = second.communicate()
    assert second.returncode == 0 and 'network' not in printed, errors
    others = [line for line in errors.splitlines() if line.startswith('[')]
    # The first process takes one, then all that the other has left: the failures, which it reports.
    assert len(others) == 3 and sum('no result' in line for line in others + lines[:1]) == 2
    assert sorted(line[:5] for line in lines[:1] + others) == ['[1/4]', '[2/4]', '[3/4]', '[4/4]']
    assert computed == 1 and [isinstance(one, Evaluation) for one in found.values()] == [True, True, False, False]
    assert json.loads(json.dumps(tabulate(rows, columns, SMALL, found, paper.TABLE4))) == alone


def test_a_process_that_waits_takes_what_the_other_has_found(root):
    rows, columns = [Row('first', f'{root}/1.pth')], read_columns([root / 'plain'])
    file = evaluation_file(root / 'out', 'first', 'plain', SMALL)
    file.parent.mkdir(parents=True)
    code = """
import fcntl, sys, time
with open(sys.argv[1], 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print('taken', flush=True)
    sys.stdin.readline()
"""
    other = subprocess.Popen([sys.executable, '-c', code, str(file.with_name(f'.{file.stem}.lock'))],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'taken\n'
    timer = threading.Timer(3, other.kill)  # Without a word: the system ends its claim.
    timer.start()
    started = time.monotonic()
    found, computed = evaluate_missing(rows, columns, SMALL, root / 'out', batch_size=8, workers=1)
    timer.join()
    assert time.monotonic() - started >= 2.5 and computed == 1 and found['first', 'plain'].train > 0
    other.communicate()


# Bad input


@pytest.mark.parametrize('options, message', [
    (['--networks'], 'no networks: give --networks'),
    (['--networks', 'a=1.pth', 'a=2.pth'], "--networks has the name 'a' twice"),
    (['--networks', '1.pth'], '--networks takes NAME=NETWORK'),
    (['--networks', 'a='], '--networks takes NAME=NETWORK'),
    (['--networks', 'a=none.pth'], 'a: there is no file none.pth'),
    (['--networks', 'a=timm:resnet18@none.pth'], 'a: there is no file none.pth'),
    (['--networks', 'a=only_{task}.pth'], 'a on official: there is no file only_official.pth'),
    (['--tasks', 'nowhere'], 'there is no folder nowhere'),
    (['--tasks', 'nowhere.py'], 'there is no task config nowhere.py'),
    (['--tasks', 'plain', 'copy/plain'], "--tasks has 'plain' twice"),
    (['--weights', 'nowhere'], 'there is no folder nowhere: give --weights'),
    (['--protocol', 'linear'], '--k and --temperature are options of kNN'),
    (['--table', '4', '--protocol', 'linear'], 'Table 4 is by the protocol knn'),
    (['--table', '3'], "Table 3 is by the protocol linear: leave out --protocol knn"),
    (['--k', '0'], '--k: it is a whole number of at least 1'),
    (['--size', '64'], '0 < size <= resize'),
    (['--out', 'plain'], 'plain has files in it that are no table'),
    (['--out', '1.pth'], '1.pth is no folder'),
])
def test_one_line_says_what_is_wrong_and_nothing_is_written(root, monkeypatch, options, message):
    monkeypatch.chdir(root)
    (root / 'copy' / 'plain').mkdir(parents=True)
    shutil.copy('1.pth', 'only_plain.pth')
    before = sorted(map(str, root.rglob('*')))
    defaults = ['--networks', 'first=1.pth', '--tasks', 'plain', 'official', *KNN, '--out', 'out']
    with pytest.raises(InputError) as error:
        tool.main([*defaults, *options])
    assert message in str(error.value) and '\n' not in str(error.value)
    assert sorted(map(str, root.rglob('*'))) == before
