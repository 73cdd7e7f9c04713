"""kNN against scikit-learn and against brute force; the labeled tasks it runs on."""

import json

import knn_worker
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.models.backbones import ResNet
from PIL import Image
from processes import run_ranks
from repository import load_tool
from routing_data import CLASSES, write
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

import sdr_mm.evaluation.knn as knn
from sdr_mm import arguments
from sdr_mm.errors import InputError
from sdr_mm.evaluation import (
    METRICS,
    accuracy,
    average_precision_11,
    knn_predict,
    load_task,
    mean_average_precision_11,
    mean_per_class,
    stratified_splits,
    task_features,
)
from sdr_mm.images import ImageStore
from sdr_mm.models.zoo import load_network

knn_eval = load_tool('knn_eval')


def features(n, m, d, classes, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, d)).astype(np.float32), random.integers(classes, size=n),
            random.normal(size=(m, d)).astype(np.float32))


@pytest.mark.parametrize('k, temperature', [(1, 0.07), (10, 0.07), (200, 0.07), (200, 1.0), (600, 0.1)])
def test_equals_scikit_learn_to_the_last_prediction(k, temperature):
    train, labels, test = features(600, 500, 24, 7, seed=k)
    reference = KNeighborsClassifier(
        k, metric='cosine', algorithm='brute', weights=lambda distance: np.exp((1 - distance) / temperature))
    reference.fit(train.astype(np.float64), labels)
    scores = knn_predict(train, labels, test, k=[k], temperature=temperature)[k]
    assert (scores.argmax(1) == reference.predict(test.astype(np.float64))).all()
    np.testing.assert_allclose(scores, reference.predict_proba(test.astype(np.float64)), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(chunk=st.integers(1, 40), k=st.integers(1, 30), seed=st.integers(0, 9), repeats=st.booleans())
def test_does_not_depend_on_the_chunk_or_the_other_tests(chunk, k, seed, repeats):
    train, labels, test = features(25, 31, 5, 3, seed)
    if repeats:  # Equal cosines everywhere.
        train = train[np.random.default_rng(seed).integers(4, size=25)]
    whole = knn_predict(train, labels, test, k=[k], num_classes=3)[k]
    assert np.array_equal(knn_predict(train, labels, test, k=[k], num_classes=3, chunk=chunk)[k], whole)
    alone = [knn_predict(train, labels, row[None], k=[k], num_classes=3)[k][0] for row in test]
    assert np.array_equal(alone, whole)


def test_does_not_depend_on_the_number_of_threads():
    train, labels, test = features(300, 200, 130, 5)
    threads = torch.get_num_threads()
    results = []
    for number in (1, 2):
        torch.set_num_threads(number)
        results.append(knn_predict(train, labels, test, k=[20])[20])
    torch.set_num_threads(threads)
    assert np.array_equal(*results)


@pytest.mark.parametrize('spread', [1e-1, 1e-3, 1e-6, 0])
def test_neighbors_are_exact_however_close_the_features_are(spread, monkeypatch):
    """Against all cosines in exact arithmetic, where float32 tells few of them apart or none."""
    random = np.random.default_rng(3)
    center = random.normal(size=700)
    train, test = (center + spread * random.normal(size=(count, 700)) for count in (300, 20))
    labels = random.integers(3, size=300)
    dense = []
    monkeypatch.setattr(knn, '_top', lambda values, k, real=knn._top: dense.append(len(values)) or real(values, k))
    scores = knn_predict(train, labels, test, k=[30])[30]
    assert sum(dense) == {1e-1: 0, 1e-3: 20, 1e-6: 0, 0: 20}[spread]
    whole = [np.round(knn.unit(torch.from_numpy(part)).numpy() * 2**24).astype(np.int64).astype(object)
             for part in (train, test)]
    for row, cosines in zip(scores, whole[1] @ whole[0].T):
        nearest = sorted(range(300), key=lambda number: (-cosines[number], number))[:30]
        weights = np.exp((cosines[nearest].astype(float) - float(cosines[nearest[0]])) / 2**48 / 0.07)
        votes = np.bincount(labels[nearest], weights, minlength=3) / weights.sum()
        np.testing.assert_allclose(row, votes, rtol=1e-12)


@pytest.mark.parametrize('spread', [1, 1e-2])
@pytest.mark.parametrize('d', [3, 512, 2048])
def test_the_bound_of_the_rounding_errors_holds(d, spread):
    """Also where all features point in much the same direction, and it is far smaller."""
    random = np.random.default_rng(0)
    train, test = (knn._round(torch.from_numpy(1 + spread * random.normal(size=(count, d)))) for count in (200, 50))
    search = knn._Search(train, 5)
    coarse = knn._Coarse.of(test, search.mean)
    exact = test.double() @ train.double().T - (test.double() @ search.mean.double())[:, None]
    errors = (search.approximate(coarse.rows, torch.empty(50, 200)).double() - exact).abs().amax(1)
    bound = search.error(coarse)
    assert (errors > 0).all() and (errors < bound).all() and bound.max() < {1: 0.05, 1e-2: 1e-5}[spread]


@pytest.mark.parametrize('n, d, k, rows, columns', [(300, 700, 30, 64, 96), (1000, 40, 9, 512, 512), (50, 5, 50, 7, 2)])
def test_parts_give_the_exact_neighbors_of_plain_integers(n, d, k, rows, columns, monkeypatch):
    """Products that are summed in parts of samples and of entries, and lists that are too long for parts of them."""
    monkeypatch.setattr(knn, '_ROWS', rows)
    monkeypatch.setattr(knn, '_COLUMNS', columns)
    monkeypatch.setattr(knn, 'MEMORY', 40 * n)
    random = np.random.default_rng(n)
    train, test = (knn._round(torch.from_numpy(random.normal(size=(count, d)))) for count in (n, 33))
    train[n // 2:] = train[:n - n // 2]  # Every cosine comes twice.
    whole = [np.round(part.numpy() * 2.0**24).astype(np.int64).astype(object) for part in (train, test)]
    expected = whole[1] @ whole[0].T
    for longest in (n, 0):
        monkeypatch.setattr(knn, '_longest', lambda k, longest=longest: longest)
        cosines, numbers = knn._nearest(test, train, knn._Search(train, k), k)
        for row, found, nearest in zip(expected, cosines, numbers):
            best = sorted(range(n), key=lambda number: (-row[number], number))[:k]
            assert nearest.tolist() == best
            assert [int(value * 2**48) for value in found.tolist()] == row[best].tolist()


def test_reduced_precision_elsewhere_changes_nothing():
    train, labels, test = features(300, 40, 130, 5)
    expected = knn_predict(train, labels, test, k=[20])[20]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found = knn_predict(train, labels, test, k=[20])[20]
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision(before)
    assert np.array_equal(found, expected)


def test_of_equal_cosines_the_first_training_samples_count():
    train = np.array([[1, 0], [2, 0], [3, 0], [0, 1], [4, 0]], np.float32)
    scores = knn_predict(train, np.array([0, 1, 2, 2, 1]), np.array([[5, 0]], np.float32), k=[1, 2, 3])
    np.testing.assert_allclose(scores[1], [[1, 0, 0]])
    np.testing.assert_allclose(scores[2], [[.5, .5, 0]])
    np.testing.assert_allclose(scores[3], [[1 / 3] * 3])


def test_several_k_are_those_asked_for_one_by_one_and_clamped():
    train, labels, test = features(40, 20, 6, 4)
    together = knn_predict(train, labels, test, k=[5, 1, 40, 200])
    for k in (5, 1, 40):
        assert np.array_equal(together[k], knn_predict(train, labels, test, k=[k])[k])
    assert np.array_equal(together[200], together[40])


def test_weights_are_worked_out_by_hand():
    train = np.array([[1, 0], [0, 1]], np.float32)
    scores = knn_predict(train, np.array([0, 1]), np.array([[3, 4]], np.float32), k=[2], temperature=0.1)[2]
    weights = np.exp([6, 8])
    np.testing.assert_allclose(scores[0], weights / weights.sum(), rtol=1e-6)
    tiny = knn_predict(train, np.array([0, 1]), np.array([[3, 4]], np.float32), k=[2], temperature=1e-6)[2]
    np.testing.assert_allclose(tiny, [[0, 1]], atol=1e-12)


def test_several_labels_are_averaged():
    train, _, test = features(30, 12, 6, 2)
    labels = np.random.default_rng(1).integers(2, size=(30, 4))
    scores = knn_predict(train, labels, test, k=[7], temperature=0.2)[7]
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    cosine = unit(test.astype(np.float64)) @ unit(train.astype(np.float64)).T
    for row, expected in zip(scores, cosine):
        nearest = np.argsort(-expected)[:7]
        weights = np.exp(expected[nearest] / 0.2)
        np.testing.assert_allclose(row, weights @ labels[nearest] / weights.sum(), rtol=1e-5)


@pytest.mark.slow
def test_is_the_same_from_two_processes(tmp_path):
    """Also where one of them has nothing to do, and an error ends both."""
    run_ranks(knn_worker, tmp_path)
    alone, message = knn_worker.predictions()
    assert 'not finite' in message
    for rank in range(2):
        found, said = torch.load(tmp_path / f'rank{rank}.pt', weights_only=False)
        assert all(np.array_equal(one, other) for one, other in zip(found, alone)) and said == message


def test_dead_features_predict_something_and_not_nan():
    scores = knn_predict(np.zeros((4, 3)), np.array([0, 1, 0, 1]), np.zeros((2, 3)), k=[3])[3]
    np.testing.assert_allclose(scores, [[2 / 3, 1 / 3]] * 2)


NAN = np.array([[1, np.nan]])


@pytest.mark.parametrize('change, message', [
    (dict(train_features=np.concatenate([np.ones((3, 2)), NAN])), '1 of 4 training samples are not finite'),
    (dict(test_features=NAN), '1 of 1 test samples are not finite'),
    (dict(train_labels=np.zeros(4, int)), 'at least two classes'),
    (dict(train_labels=np.zeros(3, int)), 'a class number, .* for each of 4'),
    (dict(train_labels=np.array([0, 1, -1, 0])), 'class numbers from 0'),
    (dict(train_features=np.ones((4, 3))), 'the same d'),
    (dict(test_features=np.ones((0, 2))), 'the same d'),
    (dict(k=[0]), 'at least 1'),
    (dict(temperature=0), 'must be positive'),
    (dict(chunk=0), 'at least 1'),
    (dict(num_classes=1), '2 classes, but 1'),
])
def test_bad_input_is_one_line(change, message):
    arguments = dict(train_features=np.ones((4, 2)), train_labels=np.array([0, 1, 0, 1]), test_features=np.ones((1, 2)))
    with pytest.raises(InputError, match=message):
        knn_predict(**{**arguments, **change})


def test_the_metrics_of_the_tools_are_those_of_the_package():
    assert tuple(METRICS) == arguments.METRICS


def test_metrics_worked_out_by_hand():
    scores = np.eye(3)[[0, 0, 1, 2]]
    labels = np.array([0, 0, 0, 2])
    assert accuracy(scores, labels) == 75
    assert mean_per_class(scores, labels) == pytest.approx(100 * (2 / 3 + 1) / 2)
    # Ranked: + - + -; precision is 1 up to recall 0.5 and 2/3 beyond: 6 and 5 of the 11 points.
    score, positive = np.array([.9, .8, .7, .6]), np.array([1, 0, 1, 0])
    assert average_precision_11(score, positive) == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    both = mean_average_precision_11(np.stack([score, score], 1), np.stack([positive, 1 - positive], 1))
    one, other = average_precision_11(score, positive), average_precision_11(score, 1 - positive)
    assert both == pytest.approx((one + other) / 2)
    with pytest.raises(InputError, match='has none'):
        average_precision_11(score, np.zeros(4))


def test_eleven_points_come_close_to_the_whole_curve():
    random = np.random.default_rng(0)
    positive = random.random(4000) < 0.3
    score = positive + random.normal(size=4000)
    assert average_precision_11(score, positive) == pytest.approx(100 * average_precision_score(positive, score), abs=2)


def test_equal_scores_are_taken_in_together():
    score = np.array([1., 1, 1, 0])
    assert average_precision_11(score, np.array([1, 0, 0, 1])) == average_precision_11(score, np.array([0, 0, 1, 1]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 20), min_size=2, max_size=5), st.floats(0.05, 0.95), st.integers(0, 5))
def test_random_splits_hold_every_class_in_both_parts(sizes, fraction, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    first, second = stratified_splits(labels, splits=2, test_fraction=fraction, seed=seed)
    for split in (first, second):
        assert sorted(np.concatenate([split.train, split.test])) == list(range(len(labels)))
        for part in (split.train, split.test):
            assert set(labels[part]) == set(range(len(sizes)))
    again = stratified_splits(labels, splits=1, test_fraction=fraction, seed=seed)[0]
    assert np.array_equal(again.test, first.test)


def test_each_image_is_decoded_once_resized_and_cropped(tmp_path, monkeypatch):
    folder = write(tmp_path, CLASSES, 3, seed=0)
    paths = sorted(folder.rglob('*.png'))
    store = ImageStore(paths, resize=16, size=12)
    expected = Image.open(paths[1]).resize((20, 16), Image.Resampling.BICUBIC).crop((4, 2, 16, 14))
    assert np.array_equal(store.get(np.array([1]))[0], np.asarray(expected))
    store.read_all()
    for path in paths:  # A second decoding would fail.
        path.unlink()
    batches = list(store.batches(np.array([5, 0, 1, 1, 2, 3, 4]), 3, mean=(0, 0, 0), std=(1, 1, 2)))
    assert [len(batch) for batch in batches] == [3, 2, 2]
    assert torch.equal(batches[0][2, 2], torch.tensor(np.asarray(expected)[..., 2] / 2, dtype=torch.float32))


@pytest.mark.parametrize('memory', [2**20, 0])
def test_a_store_decodes_each_image_once_and_keeps_it_in_memory_or_on_disk(memory, tmp_path):
    paths = sorted(write(tmp_path, CLASSES, 3, seed=0).rglob('*.png'))
    store = ImageStore(paths, resize=16, size=12, memory=memory)
    store.read_all()
    order = np.array([3, 1, 5])
    expected = ImageStore(paths, resize=16, size=12, memory=0, disk=0).get(order)
    for path in paths:
        path.unlink()
    assert np.array_equal(store.get(order), expected)


def test_a_store_without_any_room_decodes_again(tmp_path):
    paths = sorted(write(tmp_path, CLASSES, 3, seed=0).rglob('*.png'))
    store = ImageStore(paths, resize=16, size=12, memory=0, disk=0)
    first = store.get(np.array([2]))
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(paths[2])
    assert first.any() and not store.get(np.array([2])).any()


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(3)
    torch.save(ResNet(depth=18, base_channels=4, stem_channels=4).state_dict(), tmp_path / 'net.pth')
    return str(tmp_path / 'net.pth')


SMALL = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu']


def test_the_tool_prints_and_writes_each_k(checkpoint, tmp_path, capsys):
    folder = write(tmp_path / 'task', CLASSES, 10, seed=1)
    out = tmp_path / 'knn.json'
    knn_eval.main([checkpoint, '--task', str(folder), '--k', '1', '200', '--splits', '3', '--out', str(out), *SMALL])
    text = capsys.readouterr().out
    assert 'task: 2 classes, 14 training and 6 test images' in text and 'k = 200 (clamped to 14)' in text
    scores = json.loads(out.read_text())['scores']
    assert list(scores) == ['k = 1', 'k = 200'] and len(scores['k = 1']) == 3
    assert f'k = 1: {np.mean(scores["k = 1"]):.2f} ± {np.std(scores["k = 1"]):.2f} over 3 splits' in text
    with pytest.raises(InputError, match='exists already'):
        knn_eval.main([checkpoint, '--task', str(folder), '--out', str(out), *SMALL])


def test_a_task_with_val_is_tested_on_test_with_all_the_others_in_the_bank(checkpoint, tmp_path, capsys):
    for part, count in (('train', 3), ('val', 2), ('test', 4)):
        write(tmp_path / 'task' / part, CLASSES, count, seed=count)
    out = tmp_path / 'knn.json'
    knn_eval.main([checkpoint, '--task', str(tmp_path / 'task'), '--k', '3', '--metric', 'mean_per_class', '--out',
                   str(out), *SMALL])
    assert '10 training and 8 test images' in capsys.readouterr().out
    network = load_network(checkpoint)
    task = load_task(tmp_path / 'task')
    found, _ = task_features(network.module, task, normalization=network.settings.normalization, resize=32, size=32)
    bank, test = np.concatenate([task.splits[0].train, task.splits[0].val]), task.splits[0].test
    reference = KNeighborsClassifier(
        3, metric='cosine', algorithm='brute', weights=lambda distance: np.exp((1 - distance) / 0.07))
    reference.fit(found[bank].double(), task.labels[bank])
    predicted = reference.predict(found[test].double())
    expected = np.mean([100 * np.mean(predicted[task.labels[test] == label] == label) for label in (0, 1)])
    assert json.loads(out.read_text())['scores']['k = 3'] == [pytest.approx(expected)]


def test_size_and_neighbors_are_those_that_the_checkpoint_stores(checkpoint, tmp_path, capsys):
    """A network of 32 pixels is not fed 224."""
    folder = write(tmp_path / 'task', CLASSES, 10, seed=1)
    content = dict(state_dict=torch.load(checkpoint), meta=dict(cfg='evaluation = dict(resize=36, size=32, k=5)'))
    torch.save(content, checkpoint)
    tail = ['--task', str(folder), '--workers', '1', '--device', 'cpu']
    knn_eval.main([checkpoint, *tail, '--out', str(tmp_path / 'stored.json')])
    text = capsys.readouterr().out
    assert '32 of 36 px' in text and 'k = 5:' in text
    own = ['--k', '3', '--size', '16', '--resize', '20', '--out', str(tmp_path / 'own.json')]
    knn_eval.main([checkpoint, *tail, *own])
    text = capsys.readouterr().out
    assert '16 of 20 px' in text and 'k = 3:' in text
    for name, expected in (('stored', dict(resize=36, size=32, k=[5])), ('own', dict(resize=20, size=16, k=[3]))):
        assert json.loads((tmp_path / f'{name}.json').read_text())['settings'].items() >= expected.items()


def test_a_damaged_image_stops_or_is_skipped_and_counted(checkpoint, tmp_path, capsys):
    folder = write(tmp_path / 'task', CLASSES, 10, seed=1)
    (folder / 'rings' / 'rings000.png').write_bytes(b'no image')
    with pytest.raises(InputError, match='rings000.png cannot be decoded'):
        knn_eval.main([checkpoint, '--task', str(folder), *SMALL])
    knn_eval.main([checkpoint, '--task', str(folder), '--on-error', 'skip', *SMALL])
    assert '1 images could not be decoded' in capsys.readouterr().out


def _one_image(folder):
    write(folder, ['rings'], 5, 0)
    write(folder, ['stripes'], 1, 0)


def _no_test(folder):
    write(folder / 'train', CLASSES, 2, 0)


def _strange(folder):
    write(folder / 'train', CLASSES, 2, 0)
    write(folder / 'test', ['waves'], 2, 0)


def _all_damaged(folder):
    write(folder, CLASSES, 4, 0)
    for path in (folder / 'rings').iterdir():
        path.write_bytes(b'')


@pytest.mark.parametrize('make, options, message', [
    (lambda folder: None, [], 'there is no folder'),
    (lambda folder: folder.mkdir(), [], 'no images in subfolders'),
    (lambda folder: write(folder, CLASSES, 3, 0, classes=False), [], 'no images in subfolders'),
    (lambda folder: write(folder, CLASSES[:1], 3, 0), [], r'has 1 class\(es\)'),
    (_one_image, [], "class 'stripes' has one image"),
    (_no_test, [], 'neither of test/, val/'),
    (_strange, [], "class 'waves' of test/"),
    (lambda folder: write(folder, CLASSES, 3, 0), ['--size', '64'], 'size=64, resize=32'),
    (lambda folder: write(folder, CLASSES, 3, 0), ['--splits', '0'], '--splits: it is a whole number of at least 1'),
    (lambda folder: write(folder, CLASSES, 3, 0), ['--device', 'nowhere'], "no device 'nowhere'"),
    (_all_damaged, ['--on-error', 'skip'], "no readable image of class 'rings'"),
])
def test_a_task_that_cannot_be_used_ends_in_one_line(make, options, message, checkpoint, tmp_path):
    make(tmp_path / 'task')
    with pytest.raises(InputError, match=message) as caught:
        knn_eval.main([checkpoint, '--task', str(tmp_path / 'task'), *SMALL, *options])
    assert '\n' not in str(caught.value)
