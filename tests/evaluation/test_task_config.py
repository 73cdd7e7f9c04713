"""Configs of tasks: the true layout of each data set, read by MMPretrain's classes."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import CIFAR10, CIFAR100
from repository import ROOT, load_tool
from scipy.io import savemat
from task_layouts import LAYOUTS, image, lines

from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task, TaskConfig, load_task
from sdr_mm.images import ImageStore

tool = load_tool('check_tasks')

CONFIGS = ROOT / 'configs' / 'tasks'
# protocol: metric, train / val / test as the official lists name them, whether val is taken from train
PROTOCOL = dict(
    food101=('accuracy', 75750, None, 25250),
    cifar10=('accuracy', 50000, None, 10000),
    cifar100=('accuracy', 50000, None, 10000),
    sun397=('accuracy', 19850, None, 19850),
    stanford_cars=('accuracy', 8144, None, 8041),
    fgvc_aircraft=('mean_per_class', 3334, 3333, 3333),
    voc2007=('map_11', 2501, 2510, 4952),
    dtd=('accuracy', 1880, 1880, 1880),
    oxford_pets=('mean_per_class', 3680, None, 3669),
    caltech101=('mean_per_class', 2416, None, 6728),
    flowers102=('mean_per_class', 1020, 1020, 6149))


@pytest.fixture
def any_md5(monkeypatch):
    """CIFAR's classes refuse files that are not the original ones."""
    for kind in (CIFAR10, CIFAR100):
        for key in ('train_list', 'test_list'):
            monkeypatch.setattr(kind, key, [[name, None] for name, _ in getattr(kind, key)])


def config(name, root, **changes):
    return replace(TaskConfig.from_file(CONFIGS / f'{name}.py', root), **{'counts': {}, **changes})


def listed(task, part, root):
    """Images of a part, relative to ``root`` or as pixels, and the names of their classes."""
    found = []
    for number in part:
        picture, label = task.paths[number], task.labels[number]
        name = {task.classes[c] for c in np.flatnonzero(label)} if task.multi_label else task.classes[label]
        found.append((picture if isinstance(picture, np.ndarray) else os.path.relpath(picture, root), name))
    return found


def held_out_by_ssl_transfer(count):
    state = np.random.get_state()
    np.random.seed(0)
    indices = list(range(count))
    np.random.shuffle(indices)
    np.random.set_state(state)
    return set(indices[:int(np.floor(0.2 * count))])


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_data_set_in_its_true_layout_is_the_task_of_the_protocol(name, tmp_path, any_md5):
    expected = LAYOUTS[name](tmp_path)
    task = config(name, tmp_path).load()
    split, = task.splits
    if 'val' not in expected:
        val = held_out_by_ssl_transfer(len(expected['train']))
        rows = list(enumerate(expected['train']))
        expected['train'] = [row for i, row in rows if i not in val]
        expected['val'] = [row for i, row in rows if i in val]
    for part, numbers in (('train', split.train), ('val', split.val), ('test', split.test)):
        found = listed(task, numbers, tmp_path)
        assert len(found) == len(expected[part])
        for (picture, title), (other, other_title) in zip(found, expected[part]):
            assert title == other_title and np.array_equal(picture, other)
    assert task.metric == PROTOCOL[name][0]
    assert len(ImageStore(task.paths, resize=8, size=8).get(split.test[:3])) == 3


def test_each_task_of_the_protocol_has_a_config_with_its_counts_and_source():
    assert {path.stem for path in CONFIGS.glob('*.py')} == set(PROTOCOL)
    for name, (metric, train, val, test) in PROTOCOL.items():
        read = TaskConfig.from_file(CONFIGS / f'{name}.py')
        assert read.counts == {key: value for key, value in dict(train=train, val=val, test=test).items() if value}
        assert read.metric == metric and 'http' in read.source and read.files
        assert val or read.val == 0.2
        assert Path(read.data_root).parts[0] == 'data'


def test_caltech101_has_the_list_of_the_benchmark(tmp_path):
    """SHA-256 of caltech101-splits/ of linusericsson/ssl-transfer at 416913f, its lines joined by a line feed."""
    digests = ('8d3408382b2f44f34ab43eecee9c12d0e28ae99141faff72521d6fa7609be4ee',
               '34b1cff0b09a1faecf56e62c9d9236d316721c5c9c8e1cc29347d6f70251639f')
    LAYOUTS['caltech101'](tmp_path)
    task = load_task(CONFIGS / 'caltech101.py', data_root=tmp_path)
    for numbers, digest in zip(task.splits[0].scoring(), digests):
        rows = ['/'.join(Path(task.paths[i]).parts[-2:]) + f' {task.labels[i]}' for i in numbers]
        assert hashlib.sha256('\n'.join(rows).encode()).hexdigest() == digest


def garden(root, **changes):
    """A task of one's own: a config of a few lines on folders of images."""
    for part in ('train', 'test'):
        for title in ('robin', 'wren'):
            for number in range(3):
                image(root, f'garden/{part}/{title}/{number}.jpg')
    values = dict(
        name="'garden'", data_root=repr(str(root / 'garden')), train="dict(type='CustomDataset', data_prefix='train')",
        test="dict(type='CustomDataset', data_prefix='test')")
    values.update(changes)
    lines(root / 'garden.py', [f'{key} = {value}' for key, value in values.items() if value])
    return root / 'garden.py'


def test_a_few_lines_make_a_task_of_ones_own(tmp_path):
    task = load_task(garden(tmp_path))
    assert (task.name, task.classes, task.metric) == ('garden', ['robin', 'wren'], 'accuracy')
    assert task.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2 and task.splits[0].val is None
    task = load_task(garden(tmp_path, val='1 / 3', _note="'mine'"), metric='mean_per_class')
    assert len(task.splits[0].val) == 2 and task.metric == 'mean_per_class'
    # A list of images, without a class each in its path.
    rows = [f'{part}/{title}/{number}.jpg' for part in ('train', 'test') for title in ('robin', 'wren')
            for number in range(3)]
    for part in ('train', 'test'):
        lines(tmp_path / 'garden' / f'{part}.txt', [f'{row} {int("wren" in row)}' for row in rows if part in row])
    task = load_task(garden(tmp_path, train=LISTED.format('train', ''), test=LISTED.format('test', '')))
    assert task.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2 and task.classes == ['robin', 'wren']


def test_a_folder_is_a_task_too(tmp_path):
    garden(tmp_path)
    task = load_task(tmp_path / 'garden', metric='mean_per_class')
    assert isinstance(task, Task) and len(task.splits[0].test) == 6 and task.metric == 'mean_per_class'
    task = load_task(tmp_path / 'garden' / 'train', splits=3, seed=1)
    assert len(task.splits) == 3


def test_data_root_replaces_data_and_nothing_else(tmp_path):
    read = TaskConfig.from_file(CONFIGS / 'voc2007.py', tmp_path)
    assert Path(read.data_root) == tmp_path / 'VOCdevkit' / 'VOC2007'
    assert TaskConfig.from_file(CONFIGS / 'voc2007.py').data_root == 'data/VOCdevkit/VOC2007'
    assert load_task(garden(tmp_path), data_root='elsewhere').name == 'garden'


BAD = {
    'no such key': (dict(metrik="'accuracy'"), "unknown key 'metrik': known are name, data_root"),
    'key that lacks': (dict(test=None), 'lacks test'),
    'broken file': (dict(val='1 / 0'), r'cannot be read \(ZeroDivisionError'),
    'no such class': (dict(train="dict(type='Garden')"), "there is no data set 'Garden'"),
    'value of another kind': (dict(files="'train'"), "files is of another kind .*, got 'train'"),
    'type that is no name': (dict(train='dict(type=str)'), 'there is no data set <class'),
    'no such option': (dict(train="dict(type='CustomDataset', prefix=1)"), 'CustomDataset cannot read train .*prefix'),
    'data_root below': (dict(train="dict(type='CustomDataset', data_root='x')"), 'without data_root'),
    'no dict': (dict(test="'test'"), 'test must be a dict'),
    'val out of range': (dict(val='20'), 'between 0 and 1, got 20'),
    'no such metric': (dict(metric="'top5'"), 'the metric is one of accuracy, mean_per_class, map_11'),
    'metric for several labels': (dict(metric="'map_11'"), "each image has one label, so its metric is 'accuracy'"),
    'tests on training images': (dict(test="dict(type='CustomDataset', data_prefix='train')"),
                                 '6 images both train and test'),
    'wrong counts': (dict(counts='dict(train=6, test=7)', source="'http://birds.org'"),
                     'test lists 6 images, not 7: get it from http://birds.org'),
    'counts of nothing': (dict(counts='dict(val=3)'), "counts has 'val'"),
    'missing files': (dict(files="['train', 'list.txt']", source="'http://birds.org'"),
                      'list.txt missing in .*garden: get it from http://birds.org'),
    'other classes': (dict(test="dict(type='CustomDataset', data_prefix='test', classes=['wren', 'robin'])"),
                      'the classes of test are not those of train'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_config_of_no_use_is_refused_in_one_line(case, tmp_path):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        load_task(garden(tmp_path, **changes))
    assert '\n' not in str(caught.value)


LISTED = "dict(type='CustomDataset', ann_file='{}.txt', data_prefix='{}', classes=['robin', 'wren'])"


@pytest.mark.parametrize('train, test, message', [
    (['robin/0.jpg 0', 'robin/1.jpg 0', 'wren/0.jpg 1'], ['robin/0.jpg 0'], "class 'wren' has one image"),
    (['robin/0.jpg 0', 'robin/1.jpg 0'], ['wren/0.jpg 1', 'wren/1.jpg 1'], "class 'wren' has no image to train on"),
    (['robin/0.jpg 0', 'wren/0.jpg 2'], ['robin/0.jpg 0'], 'wren/0.jpg has the label 2, which is no class'),
    (['robin/0.jpg 0', 'wren/0.jpg'], ['robin/0.jpg 0'], 'cannot read train'),
    ([], ['robin/0.jpg 0'], 'train lists no images'),
])
def test_lists_from_which_nothing_can_be_learned_are_refused(train, test, message, tmp_path):
    path = garden(tmp_path, train=LISTED.format('train', 'train'), test=LISTED.format('test', 'test'))
    lines(tmp_path / 'garden/train.txt', train)
    lines(tmp_path / 'garden/test.txt', test)
    with pytest.raises(InputError, match=message):
        load_task(path)


def test_a_task_of_one_class_is_refused(tmp_path):
    path = garden(tmp_path)
    for part in ('train', 'test'):
        (tmp_path / 'garden' / part / 'wren').rename(tmp_path / part)
    with pytest.raises(InputError, match=r'task garden has 1 class\(es\) with images, a task needs two'):
        load_task(path)


DAMAGE = {
    'image that is listed': (
        'dtd', lambda root: (root / 'dtd/images/banded/banded_0001.jpg').unlink(),
        r'1 of 141 images missing, the first is .*banded_0001.jpg: get it from https://www.robots'),
    'annotation': (
        'voc2007', lambda root: (root / 'VOCdevkit/VOC2007/Annotations/000103.xml').unlink(),
        'VOC cannot read val .FileNotFoundError.*000103.xml'),
    'half an annotation': (
        'voc2007', lambda root: (root / 'VOCdevkit/VOC2007/Annotations/000103.xml').write_text('<annotation>'),
        'VOC cannot read val .ParseError'),
    'strange class': (
        'food101', lambda root: lines(root / 'food-101/meta/test.txt', ['lasagna/7', 'pie/1']),
        'Food101 cannot read test .ValueError'),
    'class out of range': (
        'oxford_pets', lambda root: lines(root / 'Oxford-IIIT_Pets/annotations/test.txt', ['Abyssinian_4 38 1 1']),
        'Abyssinian_4.jpg has the label 37, which is no class'),
    'no label': (
        'oxford_pets', lambda root: lines(root / 'Oxford-IIIT_Pets/annotations/test.txt', ['Abyssinian_4']),
        'OxfordIIITPet cannot read test'),
    'too few labels': (
        'flowers102',
        lambda root: savemat(root / 'Flowers102/imagelabels.mat', {'labels': np.ones((1, 20), np.uint8)}),
        'Flowers102 cannot read train .IndexError'),
    'page in place of a file': (
        'flowers102', lambda root: (root / 'Flowers102/setid.mat').write_bytes(b'<html>not found'),
        'Flowers102 cannot read train'),
    'other checksums': (
        'cifar10', lambda root: None, 'CIFAR10 cannot read train .RuntimeError.*get it from https://www.cs.toronto'),
    'class without its folder': (
        'caltech101', lambda root: (root / 'caltech-101/101_ObjectCategories/ant').rename(root / 'ant'),
        'no images in .*ant: unpack'),
    'file': (
        'stanford_cars', lambda root: (root / 'Stanford_Cars/devkit/cars_test_annos_withlabels.mat').unlink(),
        'devkit/cars_test_annos_withlabels.mat missing in .*offline since 2023'),
    'empty folder': (
        'dtd', lambda root: ((root / 'dtd/images').rename(root / 'x'), (root / 'dtd/images').mkdir()),
        'images missing in .*dtd: get it from'),
}


@pytest.mark.parametrize('case', DAMAGE)
def test_damaged_data_are_refused_in_one_line_that_says_what_and_where(case, tmp_path):
    name, damage, message = DAMAGE[case]
    LAYOUTS[name](tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        config(name, tmp_path).load()
    assert '\n' not in str(caught.value)


def test_an_image_without_a_label_is_refused(tmp_path):
    path = garden(tmp_path, train="dict(type='BaseDataset', ann_file='train.json', data_prefix='train')",
                  test="dict(type='BaseDataset', ann_file='test.json', data_prefix='test')")
    for part in ('train', 'test'):
        rows = [f'{{"img_path": "{title}/{number}.jpg", "gt_label": {label}}}'
                for label, title in enumerate(('robin', 'wren')) for number in range(3)]
        if part == 'test':
            rows[2] = '{"img_path": "robin/2.jpg"}'
        lines(tmp_path / 'garden' / f'{part}.json',
              ['{"metainfo": {"classes": ["robin", "wren"]}, "data_list": [', ', '.join(rows), ']}'])
    with pytest.raises(InputError, match='robin/2.jpg has the label None, which is none: correct the annotation'):
        load_task(path)


def test_the_tool_says_what_is_ready_and_what_to_fetch(tmp_path, capsys):
    LAYOUTS['caltech101'](tmp_path)
    tool.main([str(CONFIGS / 'caltech101.py'), '--data-root', str(tmp_path)])
    text = capsys.readouterr().out
    assert '1,933 train, 483 val, 6,728 test, 102 classes' in text and '1 of 1 ready' in text
    LAYOUTS['dtd'](tmp_path)
    (tmp_path / 'dtd/labels/val1.txt').unlink()
    LAYOUTS['fgvc_aircraft'](tmp_path)
    with pytest.raises(SystemExit) as caught:
        tool.main(['--data-root', str(tmp_path)])
    assert caught.value.code == 1
    text = capsys.readouterr().out
    states = {line[:13].strip(): line[15:].split()[0] for line in text.splitlines()[2:-1] if line[0] != ' '}
    assert len(states) == 11 and states.pop('Caltech-101') == 'ready' and states.pop('FGVC Aircraft') == 'unusable'
    assert set(states.values()) == {'missing'}
    assert f'{tmp_path}/dtd lacks labels/val1.txt\n' in text and 'https://www.robots.ox.ac.uk/~vgg/data/dtd/' in text
    assert 'train lists 100 images, not 3334' in text and '1 of 11 ready' in text
    assert TaskConfig.from_file(CONFIGS / 'dtd.py', tmp_path).missing() == ['labels/val1.txt']


def test_a_name_that_no_system_call_takes_is_a_missing_folder(tmp_path):
    for read in (load_task, Task.from_folder, Task.unlabeled):
        with pytest.raises(InputError, match='there is no folder'):
            read(tmp_path / ('x' * 300))
    with pytest.raises(InputError, match='there is no task config'):
        load_task(tmp_path / ('x' * 300 + '.py'))
