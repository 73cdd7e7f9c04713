"""Searches: what is shared, eliminated and expected, against the exact ranking."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from repository import load_tool
from routing_data import CLASSES, MEAN, NORMALIZATION, STD, evaluator, make_run, network, write
from scipy import stats
from sklearn.datasets import load_digits

from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task, knn_predict, linear_probe, logme, pooled_features, stratified_splits
from sdr_mm.images import ImageStore
from sdr_mm.models import SDRResNet
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.routing import Ranking, extract_subnet, reset_bn
from sdr_mm.routing.feature_extractor import FeatureExtractor, may_look_at

tool = load_tool('route')

OPTIONS = dict(k=5, resize=32, size=32, batch_size=8, workers=1)
FAST = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu', '--batch-size', '8', '--k', '5']


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def loaded(run):
    backbone, config = load_sdr(run / 'sdr.pth')
    return backbone, load_pool(config, backbone.space), dict(mean=MEAN, std=STD)


def one_by_one(backbone, task, images, normalization):
    """Features of each sub-net by itself, with BN statistics of ``images`` unless that is None."""
    store = ImageStore(task.paths, resize=32, size=32)
    for path in backbone.space.paths:
        subnet = extract_subnet(backbone, path)
        if images is not None:
            paths, chosen = images
            reset_bn(subnet, ImageStore(paths, resize=32, size=32).batches(chosen, 8, **normalization))
        yield pooled_features(subnet, store.batches(np.arange(len(task.paths)), 8, **normalization))


@pytest.mark.parametrize('mode', ['task', 'all', 'none'])
def test_sharing_prefixes_changes_no_score(mode, run, loaded):
    backbone, pool, normalization = loaded
    task = Task.from_folder(run / 'task', splits=2)
    result = evaluator(task, bn_reset=mode, **OPTIONS).evaluate(backbone, pool=pool, normalization=NORMALIZATION)
    random = np.random.default_rng([0, 0])
    images = {
        'task': lambda: (task.paths, random.permutation(task.train_images)),
        'all': lambda: (pool.paths, random.permutation(len(pool.paths))),
        'none': lambda: None
    }[mode]()
    for index, features in enumerate(one_by_one(backbone, task, images, normalization)):
        scores = []
        for split in task.splits:
            votes = knn_predict(features[split.train], task.labels[split.train], features[split.test], k=(5, ))[5]
            scores.append(100 * (votes.argmax(1) == task.labels[split.test]).mean())
        assert result.network(f'sub-net {index}').scores == pytest.approx(scores)
    assert not result.shortcuts
    assert result.cost.passes < result.cost.one_by_one


def test_screening_scores_the_finalists_as_the_exact_search_does(run, loaded):
    backbone, pool, normalization = loaded
    exact = evaluator(run / 'task', **OPTIONS).evaluate(backbone, pool=pool, normalization=NORMALIZATION)
    shared = evaluator(run / 'task', bn_reset='task', **OPTIONS).evaluate(backbone, normalization=NORMALIZATION)
    screened = evaluator(run / 'task', search='screen', finalists=2, **OPTIONS).evaluate(
        backbone, pool=pool, normalization=NORMALIZATION)
    best = {row.subnet for row in shared.subnets[:2]}
    assert {row.subnet for row in screened.scored} == best and len(screened.subnets) == 4
    for row in screened.scored:
        assert row.scores == exact.network(row.name).scores and row.bn == exact.network(row.name).bn
    for row in screened.subnets[2:]:
        assert row.eliminated == 1 and row.screening == shared.network(row.name).score and row.bn == 'task'
        assert row.gain_supernet is None
    assert 'screened with BN statistics of the same images (task)' in screened.shortcuts[0]
    assert '2 finalists were then scored exactly' in screened.table()


def digits(labels):
    """Scans of handwritten digits from scikit-learn: a real task that is there everywhere."""
    data = load_digits()
    images = [np.repeat(np.kron(image * 15.9, np.ones((4, 4)))[..., None], 3, axis=2).astype(np.uint8)
              for image in data.images[:1000]]
    found = labels(data.target[:1000].astype(np.int64))
    return Task('digits', [str(label) for label in np.unique(found)], images, found, stratified_splits(found, splits=5))


def planted():
    """64 sub-nets of random weights that differ: in each stage three groups of four shout one channel down the rest."""
    torch.manual_seed(0)
    backbone = SDRResNet(depth=18, base_channels=(2, 6), stem_channels=8, routed_blocks=(1, 2, 3),
                         zero_init_residual=False, init_cfg=None)
    for stage in backbone.routed_blocks:
        for block in getattr(backbone, f'layer{stage + 1}'):
            for norm in (block.bn1, block.bn2):
                layout = norm.out_layout
                for group in range(4):
                    start = layout.shared + group * layout.individual
                    loudness = (group + stage) % 4
                    if loudness:
                        norm.weight.data[start:start + layout.individual] *= 0.02
                        norm.weight.data[start] = 8 * loudness
    return backbone.eval()


@pytest.mark.parametrize('labels', [
    lambda digit: digit,
    lambda digit: digit % 2,
    lambda digit: (digit > 4).astype(np.int64),
], ids=['digit', 'odd', 'above four'])
def test_halving_finds_the_winner_with_a_fraction_of_the_passes(labels):
    task, backbone = digits(labels), planted()
    options = dict(OPTIONS, k=10, bn_reset='task', batch_size=200)
    exact = evaluator(task, **options).evaluate(backbone)
    halved = evaluator(task, search='halving', first_images=192, finalists=4, **options).evaluate(backbone)
    assert halved.best.name == exact.best.name
    for row in halved.scored:
        assert row.scores == exact.network(row.name).scores
    assert halved.cost.passes < exact.cost.passes / 2 and halved.cost.passes < exact.cost.one_by_one / 8.5
    eliminated = [row.eliminated for row in halved.subnets]
    assert eliminated == sorted(eliminated) and [eliminated.count(step) for step in range(3)] == [4, 12, 48]
    assert '64 on 192, 16 on 384' in halved.shortcuts[0]
    assert len(halved.gains('super-net')) == 4


def test_label_free_routing_follows_the_clusters_and_then_scores_exactly(run, loaded):
    backbone, pool, normalization = loaded
    options = dict(OPTIONS, search='label_free', finalists=2, per_cluster=3)
    result = evaluator(run / 'task', **options).evaluate(backbone, pool=pool, normalization=NORMALIZATION)
    assert len(result.scored) == 2 and result.scored[0].score >= result.scored[1].score
    exact = evaluator(run / 'task', **OPTIONS).evaluate(backbone, pool=pool, normalization=NORMALIZATION)
    for row in result.scored:
        assert row.scores == exact.network(row.name).scores
    for row in result.subnets[2:]:
        assert 0 < row.screening < 1 and not row.scores


def test_a_folder_without_labels_can_be_routed(run, loaded, tmp_path, capsys):
    flat = write(tmp_path / 'flat', CLASSES, 5, 11, classes=False)
    out = tmp_path / 'routing.json'
    tool.main([str(run / 'sdr.pth'), '--task', str(flat), '--search', 'label_free', '--out', str(out), *FAST])
    text = capsys.readouterr().out
    result = Ranking.load(out)
    assert '10 images without labels' in text and 'share' in text
    shares = [row.screening for row in result.subnets]
    assert len(shares) == 4 and sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
    # 10 images of the task and 6 of each cluster, once.
    assert result.cost.passes == 10 + 4 * 6
    with pytest.raises(InputError, match='one subfolder of images for each class'):
        tool.main([str(run / 'sdr.pth'), '--task', str(flat), *FAST])


def test_several_scores_and_neighbors_stand_beside_each_other(run, loaded):
    backbone, _, normalization = loaded
    scores = ('logme', 'knn', 'h_score', 'transrate')
    options = dict(OPTIONS, k=(3, 5), bn_reset='none')
    result = evaluator(run / 'task', scores=scores, **options).evaluate(backbone, normalization=NORMALIZATION)
    assert result.settings['columns'] == ['logme', 'knn k=3', 'knn k=5', 'h_score', 'transrate']
    task = Task.from_folder(run / 'task')
    (split, ) = task.splits
    for index, features in enumerate(one_by_one(backbone, task, None, normalization)):
        row = result.network(f'sub-net {index}')
        assert row.score == pytest.approx(logme(features[split.train], task.labels[split.train]))
        for k in (3, 5):
            votes = knn_predict(features[split.train], task.labels[split.train], features[split.test], k=(k, ))[k]
            expected = 100 * (votes.argmax(1) == task.labels[split.test]).mean()
            assert row.others[f'knn k={k}'] == pytest.approx([expected])
    ranked = [row.score for row in result.subnets]
    assert ranked == sorted(ranked, reverse=True)
    assert 'LogME' in result.table() and 'TransRate' in result.table()


def test_agreement_with_linear_accuracy_is_what_scipy_says_of_the_rows(run, loaded):
    backbone, _, normalization = loaded
    options = dict(OPTIONS, bn_reset='none', scores=('knn', 'logme'))
    result = evaluator(run / 'task', linear=True, **options).evaluate(backbone, normalization=NORMALIZATION)
    task = Task.from_folder(run / 'task')
    for index, features in enumerate(one_by_one(backbone, task, None, normalization)):
        expected = linear_probe(features, task.labels, task.splits[0]).score
        assert result.network(f'sub-net {index}').others['linear'] == pytest.approx([expected])
    linear = [row.others['linear'][0] for row in result.subnets]
    knn = [row.score for row in result.subnets]
    found = result.agreement['knn k=5']
    assert found['regret'] == pytest.approx(max(linear) - np.mean([x for x, s in zip(linear, knn) if s == max(knn)]))
    logme_scores = [row.others['logme'][0] for row in result.subnets]
    np.testing.assert_allclose(result.agreement['logme']['spearman'], stats.spearmanr(logme_scores, linear).statistic)
    assert 'against linear accuracy over 4 sub-nets' in result.table()


def test_other_backbones_stand_in_the_same_table(run, tmp_path, capsys):
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'r18.pth')
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / 'mobile.pth')
    specs = [f'torchvision:resnet18@{tmp_path / "r18.pth"}',
             f'torchvision:mobilenet_v3_small@{tmp_path / "mobile.pth"}']
    out = tmp_path / 'routing.json'
    tool.main([str(run / 'sdr.pth'), '--task', str(run / 'task'), '--bn-reset', 'task', '--baseline', specs[0],
               '--candidates', specs[1], '--out', str(out), *FAST])
    result = Ranking.load(out)
    names = {row.name for row in result.networks if row.subnet is None}
    assert names == {'super-net', 'super-net, own BN', 'baseline', 'baseline, own BN', specs[1], f'{specs[1]}, own BN'}
    assert result.network(specs[1]).gain_baseline == pytest.approx(
        result.network(specs[1]).score - result.network('baseline').score)
    assert specs[1] in capsys.readouterr().out
    with pytest.raises(InputError, match='gone.pth'):
        tool.main([str(run / 'sdr.pth'), '--task', str(run / 'task'), '--bn-reset', 'task', '--candidates', 'gone.pth',
                   *FAST])


def test_routing_leaves_the_test_images_of_a_task_alone(run, loaded):
    backbone, _, normalization = loaded
    task = Task.from_folder(run / 'official')
    assert task.splits[0].val is not None and len(task.paths) == 36
    seen = may_look_at(task)
    assert len(seen.paths) == 24 and not any('test' in str(path).split('/') for path in seen.paths)
    for path in (run / 'official' / 'test').rglob('*.png'):
        path.rename(path.with_suffix('.gone'))
    try:
        result = evaluator(task, bn_reset='none', **OPTIONS).evaluate(backbone, normalization=NORMALIZATION)
    finally:
        for path in (run / 'official' / 'test').rglob('*.gone'):
            path.rename(path.with_suffix('.png'))
    assert result.settings['train'] == 12 and result.settings['held_out'] == 12


def test_clusters_of_any_size_are_counted(run, loaded):
    backbone, pool, _ = loaded
    sizes = (2, 3, 5, 14)
    assignment = np.repeat(np.arange(4), sizes)
    unequal = replace(pool, clusters=replace(pool.clusters, assignment=assignment))
    cost = evaluator(run / 'task', **OPTIONS, bn_reset='cluster').evaluate(
        backbone, pool=unequal, normalization=NORMALIZATION).cost
    # Four sub-nets and twice the super-net on 20 images of the task, and once the pool of 24 for the super-net.
    assert cost.passes == cost.one_by_one == 6 * 20 + sum(sizes) + 24


@pytest.mark.parametrize('options', [
    dict(bn_reset='task'), dict(bn_reset='cluster'), dict(search='screen', finalists=2),
    dict(search='halving', finalists=1, first_images=8, bn_reset='all'), dict(search='label_free', finalists=2),
], ids=['tree', 'one by one', 'screen', 'halving', 'label_free'])
def test_the_progress_bar_expects_the_passes_that_come(options, run, loaded, monkeypatch):
    backbone, pool, _ = loaded
    bars = []
    expect = FeatureExtractor.expect

    def watched(self, passes):
        bars.append((passes, expect(self, passes)))
        return bars[-1][1]

    monkeypatch.setattr(FeatureExtractor, 'expect', watched)
    result = evaluator(run / 'task', **{**OPTIONS, **options}).evaluate(
        backbone, pool=pool, normalization=NORMALIZATION)
    (planned, bar), = bars
    # Which sub-nets stay decides how many prefixes they share, so halving is an estimate.
    assert planned == pytest.approx(result.cost.passes, rel=0.1 if options.get('search') == 'halving' else 1e-2)
    assert bar.n == round(result.cost.passes)


@pytest.mark.parametrize('options, message', [
    (dict(search='best'), 'a search is one of exact, screen, halving, label_free'),
    (dict(scores=('leep', )), 'scores of routing are knn, logme, h_score, transrate'),
    (dict(scores=('knn', 'knn')), 'each at most once'),
    (dict(k=(5, 0)), 'numbers of at least 1'),
    (dict(search='screen', finalists=0), 'finalists >= 1'),
    (dict(search='halving', first_images=1), 'first_images >= 2'),
    (dict(search='label_free', per_cluster=0), 'per_cluster >= 1'),
    (dict(finalists=3), "no option 'finalists', only share_prefixes: choose --search screen or halving or label_free"),
    (dict(search='screen', first_images=9), "no option 'first_images', .*: choose --search halving"),
    (dict(search='screen', screen_bn='cluster'), 'share BN statistics in a screening'),
    (dict(search='halving', linear=True), "choose 'exact' or 'screen'"),
    (dict(metric='f1'), 'the metric of routing is one of'),
])
def test_options_out_of_range_are_one_line(options, message, run):
    with pytest.raises(InputError, match=message) as caught:
        evaluator(run / 'task', **{**OPTIONS, **options})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('options', [dict(bn_reset='none'), dict(search='halving', bn_reset='none', finalists=1)])
def test_a_diverged_sub_net_is_named(options, run, loaded):
    backbone = network()
    backbone.layer4[1].bn2.bias.data[-1] = float('nan')  # of the last group: sub-nets 1 and 3
    task = Task.from_folder(run / 'task')
    with pytest.raises(InputError, match='(sub-net [13]|super-net).*not finite'):
        evaluator(task, **{**OPTIONS, **options}).evaluate(backbone)


def test_a_corrupt_image_stops_with_its_name_or_is_counted(run, loaded, tmp_path):
    backbone, _, normalization = loaded
    folder = write(tmp_path / 'task', CLASSES, 6, 3)
    (folder / CLASSES[0] / 'broken.png').write_bytes(b'no picture')
    with pytest.raises(InputError, match='broken.png'):
        evaluator(folder, bn_reset='none', **OPTIONS).evaluate(backbone, normalization=NORMALIZATION)
    result = evaluator(folder, bn_reset='none', on_error='skip', **OPTIONS).evaluate(
        backbone, normalization=NORMALIZATION)
    assert result.settings['skipped'] == 1 and '1 images could not be decoded' in result.table()
    Image.open(folder / CLASSES[0] / f'{CLASSES[0]}000.png').verify()
