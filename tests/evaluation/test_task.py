"""Tasks: folders, splits that keep groups together, several labels, and images in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from routing_data import CLASSES, write

from projects.real_data.mixed import choose_and_score
from sdr_mm.errors import InputError
from sdr_mm.evaluation import METRICS, Split, Task, hold_out, stratified_splits
from sdr_mm.images import ImageStore
from sdr_mm.routing import Scorer


def parts(task, numbers):
    """Names of the folders train, val or test that the images lie in."""
    return {task.paths[number].parts[-3] for number in numbers}


def test_an_official_split_is_kept_with_val_and_test_apart(tmp_path):
    for part, count in (('train', 3), ('val', 2), ('test', 1)):
        write(tmp_path / part, CLASSES, count, seed=count)
    task = Task.from_folder(tmp_path)
    assert task.classes == list(CLASSES) and len(task.paths) == 12 and task.groups is None
    split, = task.splits
    for part, numbers in (('train', split.train), ('val', split.val), ('test', split.test)):
        assert parts(task, numbers) == {part}
    for number, label in enumerate(task.labels):
        assert task.paths[number].parts[-2] == task.classes[label]
    assert parts(task, task.train_images) == {'train'}
    choosing, scoring = split.choosing(), split.scoring()
    assert [parts(task, numbers) for numbers in choosing] == [{'train'}, {'val'}]
    assert [parts(task, numbers) for numbers in scoring] == [{'train', 'val'}, {'test'}]
    assert scoring[0].tolist() == sorted([*split.train, *split.val])


@pytest.mark.parametrize('part', ['val', 'test'])
def test_one_folder_beside_train_is_the_test(part, tmp_path):
    for name, count in (('train', 3), (part, 2)):
        write(tmp_path / name, CLASSES, count, seed=count)
    task = Task.from_folder(tmp_path)
    split, = task.splits
    assert split.val is None and parts(task, split.test) == {part}
    for both in (split.choosing(), split.scoring()):
        assert both[0] is split.train and both[1] is split.test


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (6, 5), (value, 0, 0)).save(path)


@pytest.mark.parametrize('names', [
    ('training', None, 'validation'), ('Train', None, 'Val'), ('TRAIN', 'Valid', 'TEST'),
    ('training_set', None, 'test_set'), ('train', 'dev', 'eval'),
    ('Train Images', 'validation-images', 'Testing Data'), ('trainset', None, 'evaluation')])
def test_the_parts_of_a_split_are_known_by_other_names(names, tmp_path):
    train, val, test = names
    for name, count in zip(names, (3, 2, 1)):
        if name:
            write(tmp_path / name, CLASSES, 2 * count, seed=count)
    task = Task.from_folder(tmp_path)
    split, = task.splits
    assert task.classes == list(CLASSES)
    assert [parts(task, numbers) for numbers in split.choosing()] == [{train}, {val or test}]
    assert [parts(task, numbers) for numbers in split.scoring()] == [{train, val} - {None}, {test}]


@pytest.mark.parametrize('folders, message', [
    (('train/a', 'train/b', 'val/a', 'valid/b'), 'has val/ and valid/, which both name the val part of a split: put'),
    (('train/a', 'Train/a', 'test/a'), 'has Train/ and train/, which both name the train part'),
    (('train', 'bus', 'car'), 'has train/, named like a part of a split, and beside it bus/ with images: rename'),
    (('train/a', 'train/b', 'test/a', 'extra/a'), 'beside it extra/ with images'),
    (('valid', 'invalid'), 'has valid/, .* and beside it invalid/'),
    (('test/a', 'test/b', 'val/a'), 'has test/ and val/, named like a part of a split, but no train/: add it'),
    (('training/a', 'training/b'), 'has training/ but neither of test/, val/ beside it'),
    (('train', 'test'), 'train has no images in subfolders'),
    (('a/train', 'a/test', 'b/train'), 'a has test/ and train/ below the class, .*: turn it round, test/a/'),
    (('training/a/Train', 'training/a/test', 'test/a'), 'training/a has Train/ and test/ below the class'),
])
def test_a_folder_that_could_be_of_either_layout_is_refused(folders, message, tmp_path):
    for folder in folders:
        for number in range(2):
            picture(tmp_path / folder / f'{number}.png')
    with pytest.raises(InputError, match=message):
        Task.from_folder(tmp_path)


def test_what_is_left_out_of_a_task_is_counted_and_named(tmp_path, capsys):
    for name in ('a/1.png', 'a/2.jfif', 'b/x/1.png', 'b/x/2.png', '@eaDir/a/1.png', '$RECYCLE.BIN/1.png', 'loose.png',
                 'b/x/@eaDir/1.png'):
        picture(tmp_path / name.replace('jfif', 'jpg'))
    (tmp_path / 'a' / '2.jpg').rename(tmp_path / 'a' / '2.jfif')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'b' / 'y.heic').touch()
    task = Task.from_folder(tmp_path)
    assert (task.classes, len(task.paths)) == (['a', 'b'], 4)
    left_out = '$RECYCLE.BIN/, @eaDir/, loose.png, …'
    assert capsys.readouterr().err == f'{tmp_path}: 6 files or folders left out: {left_out}\n'
    official = tmp_path / 'official'
    for name in ('Train/a/1.png', 'Train/b/1.png', 'test/a/1.png', 'test/b/1.png', 'loose.png'):
        picture(official / name)
    (official / 'annotations').mkdir()
    (official / 'test' / 'list.txt').touch()
    assert Task.from_folder(official).classes == ['a', 'b']
    left_out = 'loose.png, annotations/, test/list.txt'
    assert capsys.readouterr().err == f'{official}: 3 files or folders left out: {left_out}\n'


@pytest.mark.parametrize('part', ['', 'train/', 'test/'])
def test_a_class_does_not_vanish(part, tmp_path):
    for name in (('a', 'b') if not part else ('train/a', 'train/b', 'test/a', 'test/b')):
        for number in range(2):
            picture(tmp_path / name / f'{number}.png')
    (tmp_path / part / 'c').mkdir()
    (tmp_path / part / 'c' / '1.heic').touch()
    with pytest.raises(InputError, match=r'c has no image of a known format, but 1\.heic: convert them'):
        Task.from_folder(tmp_path)
    (tmp_path / part / 'c' / '1.heic').unlink()
    (tmp_path / part / 'c').rmdir()
    (tmp_path / part / 'c').symlink_to(tmp_path / 'not mounted')
    with pytest.raises(InputError, match='the link .*c leads nowhere: mend or remove it'):
        Task.from_folder(tmp_path)


def test_a_part_does_not_vanish(tmp_path):
    for name in ('train/a', 'train/b', 'val/a', 'val/b'):
        picture(tmp_path / name / '1.png')
    (tmp_path / 'test').symlink_to(tmp_path / 'not mounted')
    with pytest.raises(InputError, match='the link .*test leads nowhere: mend or remove it'):
        Task.from_folder(tmp_path)


def test_images_of_one_sub_folder_stay_on_one_side(tmp_path):
    # Two classes of six units with 1 to 6 frames each; the second has single images too.
    for title in ('elf', 'orc'):
        for unit in range(6):
            for frame in range(unit + 1):
                picture(tmp_path / title / f'unit{unit}' / ('attack' if frame % 2 else '') / f'{frame}.png')
    for single in range(4):
        picture(tmp_path / 'orc' / f'single{single}.png')
    task = Task.from_folder(tmp_path, splits=8)
    units = np.array([str(path.relative_to(tmp_path)).split('/')[:2] for path in task.paths])
    alone = 0
    for split in task.splits:
        sides = [{tuple(unit) for unit in units[numbers]} for numbers in split.choosing()]
        assert not sides[0] & sides[1]
        assert sorted([*split.train, *split.test]) == list(range(21 + 25))
        for label, count in ((0, 21), (1, 25)):
            held = int((task.labels[split.test] == label).sum())
            # As near to 30 % as whole units come: the units of 1, 2, 3, … frames can always make that up to 2.
            assert abs(held - 0.3 * count) <= 2.5
        alone += len([unit for unit in sides[1] if unit[1].startswith('single')])
    assert 0 < alone < 4 * 8
    # The demo divides the images again, and still keeps units together.
    for split in choose_and_score(task).splits:
        sides = [{tuple(unit) for unit in units[numbers]} for numbers in (split.train, split.test)]
        assert not sides[0] & sides[1]


def test_a_class_in_one_sub_folder_is_split_image_by_image(tmp_path):
    for title in ('n01', 'n02'):
        for number in range(10):
            picture(tmp_path / title / 'images' / f'{number}.png')
    split, = Task.from_folder(tmp_path).splits
    assert (len(split.train), len(split.test)) == (14, 6)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=2, max_size=4),
    fraction=st.floats(0.05, 0.95), seed=st.integers(0, 3))
def test_groups_are_never_divided_and_both_sides_have_every_class(sizes, fraction, seed):
    sizes = [[*groups, 2] if sum(groups) < 2 else groups for groups in sizes]
    labels = np.repeat(np.arange(len(sizes)), [sum(groups) for groups in sizes])
    groups = np.repeat(np.arange(sum(map(len, sizes))), [size for groups in sizes for size in groups])
    order = np.random.default_rng(seed).permutation(len(labels))
    split, = stratified_splits(labels[order], test_fraction=fraction, seed=seed, groups=groups[order])
    test = np.isin(np.arange(len(order)), split.test)
    assert sorted([*split.train, *split.test]) == list(range(len(order)))
    for label, members in enumerate(sizes):
        mine = labels[order] == label
        assert test[mine].any() and not test[mine].all()
        if len(members) > 1:
            for group in set(groups[order][mine]):
                assert len(set(test[groups[order] == group])) == 1
        else:
            assert test[mine].sum() == min(max(1, round(fraction * members[0])), members[0] - 1)


def test_without_groups_the_first_of_a_shuffle_test():
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 1])
    for split, number in zip(stratified_splits(labels, splits=2, test_fraction=0.4, seed=5), range(2)):
        random = np.random.default_rng([5, number])
        expected = []
        for label, count in ((0, 2), (1, 2)):
            images = np.flatnonzero(labels == label)
            random.shuffle(images)
            expected += images[:count].tolist()
        assert split.test.tolist() == sorted(expected)
    alone = stratified_splits(labels, splits=2, test_fraction=0.4, seed=5, groups=np.arange(10) + 7)
    assert [split.test.tolist() for split in alone] == [
        split.test.tolist() for split in stratified_splits(labels, splits=2, test_fraction=0.4, seed=5)]


def test_held_out_images_are_those_of_ssl_transfer():
    images = np.arange(100, 1137) * 3
    state = np.random.get_state()
    np.random.seed(0)
    shuffled = list(range(len(images)))
    np.random.shuffle(shuffled)
    np.random.set_state(state)
    train, val = hold_out(images, 0.2)
    assert val.tolist() == sorted(images[shuffled[:207]]) and train.tolist() == sorted(images[shuffled[207:]])


def several(**changes):
    """A task of three classes, several in an image, with a val part."""
    rows = '110', '011', '100', '001', '111', '000', '101', '010'
    labels = np.array([[int(digit) for digit in row] for row in rows], np.uint8)
    split = Split(np.array([0, 1, 2]), np.array([5, 6, 7]), np.array([3, 4]))
    values = dict(name='pair', classes=['a', 'b', 'c'], paths=[f'{i}.png' for i in range(8)], labels=labels,
                  splits=[split], metric='map_11', groups=np.arange(8))
    return Task(**{**values, **changes})


def test_unreadable_images_leave_all_parts_of_a_task_with_several_labels():
    task = several()
    rest = task.without([2, 3])
    assert task.multi_label and rest.multi_label and rest.metric == 'map_11'
    assert rest.paths == ['0.png', '1.png', '4.png', '5.png', '6.png', '7.png']
    split, = rest.splits
    assert [part.tolist() for part in (split.train, split.val, split.test)] == [[0, 1], [2], [3, 4, 5]]
    assert np.array_equal(rest.labels, task.labels[[0, 1, 4, 5, 6, 7]]) and rest.groups.tolist() == [0, 1, 4, 5, 6, 7]


@pytest.mark.parametrize('unreadable, message', [
    ([1], "class 'c' is left in one part"), ([4], "class 'a' is left in one part"),
    ([7], "class 'b' is left in one part")])
def test_a_class_that_loses_its_images_in_a_part_is_named(unreadable, message):
    with pytest.raises(InputError, match=message):
        several().without(unreadable)


def test_a_part_that_loses_all_images_is_refused():
    task = several()
    nothing = replace(task, splits=[Split(np.array([0, 1]), np.array([5]))])
    with pytest.raises(InputError, match='no readable image is left in one part'):
        nothing.without([5])


def test_a_metric_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="several labels, so its metric is 'map_11', not 'accuracy'"):
        several(metric='accuracy')
    with pytest.raises(InputError, match="one label, so its metric is 'accuracy' or 'mean_per_class', not 'map_11'"):
        several(labels=np.arange(8) % 3)
    with pytest.raises(InputError, match='the metric is one of accuracy, mean_per_class, map_11'):
        several(metric='top5')


@pytest.mark.parametrize('labels, split, message', [
    ([0., 1., 0., 1.], None, 'labels are whole numbers, one for each of its 4 images, or a row of 2, got float64'),
    (['a', 'b', 'a', 'b'], None, r'got <U1 of shape \(4,\)'),
    ([0, 1, 0], None, r'got int64 of shape \(3,\)'),
    ([[0, 1, 0]] * 4, None, r'got int64 of shape \(4, 3\)'),
    ([0, 1, 2, 1], None, 'labels are from 0 to 1, got 0 to 2'),
    ([0, -1, 0, 1], None, 'labels are from 0 to 1, got -1 to 1'),
    ([0, 1, 0, 1], ([0, 1], [2, 4]), 'numbers of images, from 0 to 3, got int64 from 0 to 4'),
    ([0, 1, 0, 1], ([0, 1], [-1, 2]), 'from 0 to 3, got int64 from -1 to 2'),
    ([0, 1, 0, 1], ([0.5, 1], [2, 3]), 'from 0 to 3, got float64'),
])
def test_labels_and_splits_that_do_not_fit_the_images_are_one_line(labels, split, message):
    parts = [np.array(part) for part in split or ([0, 1], [2, 3])]
    with pytest.raises(InputError, match=f'^task t: .*{message}') as error:
        Task('t', ['a', 'b'], [Path(str(i)) for i in range(4)], np.array(labels), [Split(*parts)])
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', [np.int32, np.uint8, bool])
def test_labels_of_another_kind_of_whole_number_are_scored_like_those_of_int64(kind):
    labels = np.arange(40) % 2
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)) + 2 * labels[:, None]).float()
    split = Split(np.arange(30, dtype=np.int32), np.arange(30, 40, dtype=np.int32))
    tasks = [Task('t', ['a', 'b'], [Path(str(i)) for i in range(40)], labels.astype(dtype), [split])
             for dtype in (np.int64, kind)]
    assert tasks[1].labels.dtype == np.int64
    assert Scorer(k=5)(features, tasks[0]) == Scorer(k=5)(features, tasks[1])


def test_metrics_by_name():
    scores = np.array([[.9, .1], [.8, .2], [.3, .7], [.6, .4]])
    labels = np.array([0, 0, 0, 1])
    assert METRICS['accuracy'](scores, labels) == 50
    assert METRICS['mean_per_class'](scores, labels) == pytest.approx(100 / 3)
    # The first class: 7 points of precision 1 and 4 of 3 / 4; the second: 1 / 2 everywhere.
    assert METRICS['map_11'](scores, np.stack([labels == 0, labels == 1], 1)) == pytest.approx((1000 / 11 + 50) / 2)


@pytest.mark.parametrize('folders, message', [
    ({'train/a': 2, 'test/a': 2}, r'has 1 class\(es\)'),
    ({'a': 3}, r'has 1 class\(es\)'),
    ({'train/a': 2, 'train/b': 1, 'test/a': 1}, "class 'b' has one image"),
    ({'a': 2, 'b': 1}, "class 'b' has one image"),
    ({'train/a': 2, 'train/b': 2, 'val/c': 1, 'test/a': 1}, "class 'c' of val/ has no images in train/"),
    ({'train/a': 2, 'train/b': 2}, 'neither of test/, val/'),
    ({'train/a': 2, 'train/b': 2, 'val/a': 1, 'test/b': 1}, r'own split \(train/ and val/ and test/\), so --splits 2'),
    ({'.': 2}, 'no images in subfolders'),
])
def test_a_folder_of_no_use_is_refused(folders, message, tmp_path):
    for name, count in folders.items():
        for number in range(count):
            picture(tmp_path / name / f'{number}.png')
    with pytest.raises(InputError, match=message):
        Task.from_folder(tmp_path, splits=2 if 'splits' in message else 1)


def test_images_in_memory_are_prepared_like_files(tmp_path):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(3)]
    files = [tmp_path / f'{number}.png' for number in range(3)]
    for array, file in zip(arrays, files):
        Image.fromarray(array).save(file)
    mixed = ImageStore([arrays[0], files[1], arrays[2]], resize=16, size=12)
    assert mixed.read_all().tolist() == [0, 1, 2]
    assert np.array_equal(mixed.get(np.arange(3)), ImageStore(files, resize=16, size=12).get(np.arange(3)))


def test_an_array_that_is_no_rgb_image_is_refused_or_skipped():
    arrays = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3))]
    for number, message in ((1, r'got \(8, 8\) of uint8'), (2, r'got \(8, 8, 3\) of float64')):
        with pytest.raises(InputError, match=message):
            ImageStore([arrays[0], arrays[number]], resize=8, size=8).read_all()
    assert ImageStore(arrays, resize=8, size=8, on_error='skip').read_all().tolist() == [0]
