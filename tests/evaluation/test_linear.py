"""The many-shot linear protocol, against the same written out with scikit-learn, and its tool."""

import json

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import ResNet
from repository import load_tool
from routing_data import CLASSES, write
from sklearn.linear_model import LogisticRegression

import sdr_mm.evaluation.linear as linear
from sdr_mm.errors import InputError
from sdr_mm.evaluation import METRICS, Split, hold_out
from sdr_mm.evaluation.linear import L2_GRID, linear_probe

linear_eval = load_tool('linear_eval')

GRID = [1e-2, 0.1, 1., 10., 100., 1e3, 1e4]


def data(n=200, d=10, classes=4, seed=0, several=False):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=n)
    features = random.normal(size=(classes, d))[labels] + 1.5 * random.normal(size=(n, d)) + 3
    if several:
        labels = (np.eye(classes, dtype=int)[labels] | (random.random((n, classes)) < 0.1))
    order = random.permutation(n)
    return features.astype(np.float32), labels, Split(order[:100], order[140:], order[100:140])


def fitted(features, labels, l2):
    """A fit of scikit-learn that has converged; two classes pay half as in a softmax of two."""
    C = (2 if len(np.unique(labels)) == 2 else 1) / l2
    return LogisticRegression(C=C, tol=1e-10, max_iter=10000, solver='newton-cg').fit(features, labels)


def written_out(features, labels, split, metric, grid):
    """The protocol in plain words: the score of each l2, the l2 and the score."""

    def score(train, test, l2):
        if labels.ndim == 1:
            scores = fitted(features[train], labels[train], l2).decision_function(features[test])
            scores = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
        else:
            scores = np.stack([fitted(features[train], column[train], l2).decision_function(features[test])
                               for column in labels.T], 1)
        return METRICS[metric](scores, labels[test])

    best, chosen, found = 0, None, {}
    for l2 in grid:
        found[l2] = score(split.train, split.val, l2)
        if found[l2] > best:
            best, chosen = found[l2], l2
    return found, chosen, score(np.concatenate([split.train, split.val]), split.test, chosen)


@pytest.mark.parametrize('solver', ['torch', 'sklearn'])
@pytest.mark.parametrize('metric, classes', [('accuracy', 4), ('mean_per_class', 4), ('accuracy', 2), ('map_11', 3)])
def test_follows_the_protocol(metric, classes, solver):
    features, labels, split = data(classes=classes, several=metric == 'map_11')
    grid = GRID[::-1] if classes == 2 else GRID  # Of equal ones the first in this order.
    found, chosen, score = written_out(features.astype(np.float64), labels, split, metric, grid)
    result = linear_probe(features, labels, split, metric=metric, l2=grid, solver=solver, tol=1e-8)
    assert list(result.val_scores) == grid == list(result.iterations)
    np.testing.assert_allclose(list(result.val_scores.values()), [found[l2] for l2 in grid], atol=1e-6)
    assert result.l2 == chosen and result.score == pytest.approx(score, abs=1e-6)
    assert result.score == METRICS[metric](result.test_scores, labels[split.test])
    assert result.refit_iterations > 0 and (result.unconverged == 0 or solver == 'sklearn')


def test_the_grid_is_that_of_the_protocol():
    assert len(L2_GRID) == 45 and L2_GRID[0] == 1e-6 and L2_GRID[-1] == 1e5
    np.testing.assert_allclose(np.diff(np.log10(L2_GRID)), 0.25)


def test_of_equal_weights_the_first_one_wins():
    features, labels, split = data()
    labels = np.where(features[:, 0] > 3, 1, 0)
    features[:, 0] = 100 * (labels - 0.5)  # Every weight gets all of them right.
    for grid in ([1e-2, 1e-1, 1], [1, 1e-2, 1e-1]):
        result = linear_probe(features, labels, split, l2=grid)
        assert set(result.val_scores.values()) == {100.} and result.l2 == grid[0] and result.score == 100


def test_without_val_a_fifth_of_the_training_images_chooses():
    features, labels, split = data()
    train = np.concatenate([split.train, split.val])
    kept, held_out = hold_out(train)
    expected = linear_probe(features, labels, Split(kept, split.test, held_out), l2=GRID)
    result = linear_probe(features, labels, Split(train, split.test), l2=GRID)
    assert len(held_out) == 28
    assert result.val_scores == expected.val_scores and result.l2 == expected.l2
    # The same images in another order for the last fit.
    assert result.score == expected.score


def test_images_of_one_group_are_held_out_together(monkeypatch):
    features, labels, split = data()
    train = np.sort(np.concatenate([split.train, split.val]))
    seen = []
    monkeypatch.setattr(linear, 'fit_logistic', lambda values, *args, **kwargs: seen.append(values) or
                        (_ for _ in ()).throw(InputError('enough')))
    for groups in (np.arange(200) // 7, np.arange(200)):
        with pytest.raises(InputError, match='enough'):
            linear_probe(features, labels, Split(train, split.test), l2=GRID, groups=groups)
    rows = {tuple(row): number for number, row in enumerate(features)}
    kept = np.array([rows[tuple(row)] for row in seen[0].numpy()])
    apart = np.setdiff1d(train, kept)
    assert 0 < len(apart) < len(train) / 2
    assert not set(np.arange(200)[kept] // 7) & set(np.arange(200)[apart] // 7)
    # Groups of one image each change nothing.
    assert [rows[tuple(row)] for row in seen[1].numpy()] == hold_out(train)[0].tolist()


def test_test_images_choose_nothing():
    features, labels, split = data()
    result = linear_probe(features, labels, split, l2=GRID)
    shuffled = labels.copy()
    shuffled[split.test] = np.random.default_rng(0).permutation(labels[split.test])
    other = linear_probe(features, shuffled, split, l2=GRID)
    assert other.l2 == result.l2 and other.val_scores == result.val_scores and other.score != result.score


@pytest.mark.parametrize('solver', ['torch', 'sklearn'])
def test_a_class_that_only_the_validation_images_have_is_learned_in_the_end(solver):
    features, labels, split = data()
    features[labels == 3] += 5
    rare = np.flatnonzero(labels == 3)
    others = np.flatnonzero(labels != 3)
    split = Split(others[:80], np.concatenate([rare[20:], others[120:]]), np.concatenate([rare[:20], others[80:120]]))
    result = linear_probe(features, labels, split, l2=[0.1, 1], solver=solver)
    assert max(result.val_scores.values()) <= 100 * 40 / 60  # The fits of the sweep cannot know it.
    assert (result.test_scores.argmax(1)[:len(rare) - 20] == 3).mean() > 0.9


# scikit-learn begins the fit of 1e12 where that of 1e-4 has ended, which is too far away.
@pytest.mark.parametrize('solver, count', [('torch', 2), ('sklearn', 3)])
def test_fits_that_run_out_of_steps_are_counted(solver, count, monkeypatch):
    monkeypatch.setattr(linear, 'MAX_ITER', 2)
    result = linear_probe(*data(), l2=[1e-4, 1e12], solver=solver, tol=1e-3)
    assert result.unconverged == count and max(result.iterations.values()) == 2


@pytest.mark.parametrize('scale', [1e-3, 1, 100])
def test_scores_are_those_of_the_optima_whatever_the_scale_of_the_features(scale):
    """Also for a small l2, where a gradient of 1e-4 means nothing."""
    features, labels, split = data(d=60)
    grid = [1e-5, 1e-3, 1e-1]
    found, chosen, score = written_out(features.astype(np.float64), labels, split, 'accuracy', grid)
    result = linear_probe(features * scale, labels, split, l2=[l2 * scale**2 for l2 in grid])
    assert list(result.val_scores.values()) == [pytest.approx(found[l2]) for l2 in grid] and result.unconverged == 0
    assert result.l2 == pytest.approx(chosen * scale**2) and result.score == pytest.approx(score)


FEATURES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
LABELS = np.arange(20) % 2
SPLIT = Split(np.arange(12), np.arange(12, 20))
BROKEN = np.where(np.arange(60).reshape(20, 3) == 50, np.nan, FEATURES)
SEVERAL = np.eye(2, dtype=int)[LABELS]


@pytest.mark.parametrize('change, message', [
    (dict(solver='svm'), 'one of torch, sklearn'),
    (dict(metric='error'), 'one of accuracy'),
    (dict(metric='map_11'), 'one label'),
    (dict(labels=SEVERAL), 'map_11 does'),
    (dict(l2=[]), 'positive and different'),
    (dict(l2=[1, 0]), 'positive and different'),
    (dict(l2=[1, float('nan')]), 'positive and different'),
    (dict(l2=[1, 1]), 'positive and different'),
    (dict(features=BROKEN), '1 of 20 images are not finite'),
    (dict(features=np.ones((20, 3))), 'all 10 training images are equal'),
    (dict(features=FEATURES[:7]), 'a class number, .* for each of 7'),
    (dict(labels=LABELS * 0), 'the task has one class'),
    (dict(labels=LABELS - 1), 'class numbers from 0'),
    (dict(labels=LABELS / 2), 'needs a class number, .* of torch.float64'),
    (dict(labels=np.where(np.arange(20) == 15, 2, LABELS)), 'class number 2 has no training image'),
    (dict(num_classes=3), 'class number 2 has no training image'),
    (dict(num_classes=1), '2 classes, but 1'),
    (dict(split=Split(np.arange(4), np.arange(4, 20))), 'none can be held out'),
    (dict(split=Split(np.arange(4), np.arange(4, 20), np.arange(0))), 'none can be held out'),
    (dict(split=Split(np.arange(12), np.arange(0))), 'needs test images'),
    (dict(split=Split(np.arange(0, 12, 2), np.arange(12, 20), np.arange(1, 12, 2))), 'all training images have one'),
    (dict(labels=SEVERAL, metric='map_11', split=Split(np.arange(0, 12, 2), np.arange(12, 20), np.arange(1, 12, 2))),
     'l2 cannot be chosen on the 6 validation images: every training image has class number 0'),
    (dict(labels=SEVERAL, metric='map_11', split=Split(np.arange(8), np.arange(12, 20), np.arange(8, 12, 2))),
     'l2 cannot be chosen on the 2 validation images: .* none'),
])
def test_bad_input_is_one_line(change, message):
    arguments = dict(features=FEATURES, labels=LABELS, split=SPLIT, l2=[1, 2])
    with pytest.raises(InputError, match=message) as caught:
        linear_probe(**{**arguments, **change})
    assert '\n' not in str(caught.value)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(3)
    torch.save(ResNet(depth=18, base_channels=4, stem_channels=4).state_dict(), tmp_path / 'net.pth')
    return str(tmp_path / 'net.pth')


SMALL = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu']


@pytest.mark.parametrize('solver', ['torch', 'sklearn'])
def test_the_tool_prints_and_writes_each_split(solver, checkpoint, tmp_path, capsys):
    folder = write(tmp_path / 'task', CLASSES, 10, seed=1)
    out = tmp_path / 'linear.json'
    linear_eval.main([checkpoint, '--task', str(folder), '--splits', '2', '--solver', solver, '--l2', '0.1', '10',
                      '--val-scores', '--out', str(out), *SMALL])
    text = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert 'task: 2 classes, 14 training and 6 test images' in text and '32 of 32 px' in text and solver in text
    assert found['settings']['solver'] == solver and len(found['splits']) == 2
    for split in found['splits']:
        assert f'{split["score"]:.2f} with l2 = {split["l2"]:.4g} (C = {1 / split["l2"]:.4g})' in text
        assert [entry['l2'] for entry in split['val_scores']] == [0.1, 10]
    assert text.count('  l2 = 0.1 ') == 2
    scores = [split['score'] for split in found['splits']]
    assert f'{np.mean(scores):.2f} ± {np.std(scores):.2f} over 2 splits' in text
    with pytest.raises(InputError, match='exists already'):
        linear_eval.main([checkpoint, '--task', str(folder), '--out', str(out), *SMALL])


def test_images_are_resized_to_the_crop_unless_told_otherwise(checkpoint, tmp_path, capsys):
    """To 224 as in ssl-transfer, or to what the checkpoint stores."""
    folder = write(tmp_path / 'task', CLASSES, 5, seed=1)
    arguments = [checkpoint, '--task', str(folder), '--l2', '1', '--workers', '1', '--device', 'cpu']
    linear_eval.main(arguments)
    linear_eval.main([*arguments, '--resize', '256'])
    text = capsys.readouterr().out
    assert '224 of 224 px' in text and '224 of 256 px' in text
    state = torch.load(checkpoint)
    torch.save(dict(state_dict=state, meta=dict(cfg='evaluation = dict(resize=36, size=32, k=5)')), checkpoint)
    linear_eval.main(arguments)
    linear_eval.main([*arguments, '--resize', '36'])
    text = capsys.readouterr().out
    assert '32 of 32 px' in text and '32 of 36 px' in text


def test_a_damaged_image_is_skipped_and_counted(checkpoint, tmp_path, capsys):
    folder = write(tmp_path / 'task', CLASSES, 10, seed=1)
    (folder / 'rings' / 'rings000.png').write_bytes(b'no image')
    with pytest.raises(InputError, match='rings000.png cannot be decoded'):
        linear_eval.main([checkpoint, '--task', str(folder), *SMALL])
    linear_eval.main([checkpoint, '--task', str(folder), '--on-error', 'skip', '--l2', '1', *SMALL])
    assert '1 images could not be decoded' in capsys.readouterr().out
