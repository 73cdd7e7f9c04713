"""The front door: load, route, subnet, features, export."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from repository import ROOT
from routing_data import BACKBONE, CLASSES, MEAN, STD, evaluator, make_run, network, write

import sdr_mm
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task, pooled_features
from sdr_mm.images import ImageStore
from sdr_mm.models import SimSiamSDR
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint
from sdr_mm.routing import BNReset, Halving, Ranking, extract_subnet, reset_bn

FAST = dict(resize=32, size=32, k=5, batch_size=8, workers=1)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def sdr(root):
    return sdr_mm.load(root / 'sdr.pth', device='cpu')


@pytest.fixture(scope='module')
def ranking(root, sdr):
    return sdr.route(root / 'task', bn='task', splits=2, **FAST)


def test_route_is_the_evaluator(root, sdr, ranking):
    expected = evaluator(root / 'task', bn_reset='task', splits=2, **FAST).evaluate(
        sdr.backbone, normalization=sdr.settings.normalization)
    assert [(one.name, one.scores, one.bn) for one in ranking.networks] == [
        (one.name, one.scores, one.bn) for one in expected.networks]
    assert sdr.settings.normalization == (MEAN, STD) and len(sdr.space) == 4


def test_a_ranking_shows_its_table_in_a_terminal_and_in_a_notebook(ranking):
    text, html = repr(ranking), ranking._repr_html_()
    best = ranking.best
    assert text == ranking.table() and text.splitlines()[2].split()[:3] == ['rank', 'network', 'path']
    cells = [f'>{cell}</td>' for cell in ('1', best.name, ','.join(map(str, best.path)), 'task')]
    assert html.count('<table>') == 1 and all(cell in html for cell in cells)
    assert html.count('<tr>') == 1 + len(ranking.networks)


def test_options_of_the_search_and_a_search_of_ones_own_are_the_same(root, sdr):
    options = dict(FAST, bn='task')
    named = sdr.route(root / 'task', search='halving', finalists=2, first_images=8, screen_bn='none', **options)
    made = sdr.route(root / 'task', search=Halving(finalists=2, first_images=8, bn='none'), **options)
    assert [(one.name, one.scores, one.screening) for one in named.networks] == [
        (one.name, one.scores, one.screening) for one in made.networks]
    assert named.settings['search_options'] == dict(finalists=2, bn='none', first_images=8)
    with pytest.raises(InputError, match="search 'exact' has no option 'finalists'"):
        sdr.route(root / 'task', finalists=2, **options)
    with pytest.raises(InputError, match='unknown options of routing: finalists'):
        sdr.route(root / 'task', search=Halving(), finalists=2, **options)


@pytest.mark.parametrize('bn', ['task', 'cluster', 'all', 'none'])
def test_a_ranked_sub_net_has_the_statistics_it_was_ranked_with(bn, root, sdr):
    ranking = sdr.route(root / 'task', bn=bn, bn_images=7, splits=2, **FAST)
    best = ranking.best
    net = sdr.subnet(best)
    assert net.bn == best.bn and net.path == tuple(best.path) and net.index == best.subnet
    task = Task.from_folder(root / 'task', splits=2)
    features = net.features(task, batch_size=8).numpy()
    # kNN by hand, in NumPy.
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores = []
    for split in task.splits:
        cosines = features[split.test] @ features[split.train].T
        right = 0
        for row, label in zip(cosines, task.labels[split.test]):
            near = np.argsort(-row, kind='stable')[:5]
            votes = np.bincount(task.labels[split.train][near], np.exp(row[near] / 0.07), minlength=2)
            right += votes.argmax() == label
        scores.append(100 * right / len(split.test))
    assert best.scores == pytest.approx(scores)


def test_other_statistics_have_to_be_asked_for(root, sdr, ranking, tmp_path):
    best = ranking.best
    plain = extract_subnet(sdr.backbone, best.path)
    mixture = sdr.subnet(best, bn='none')
    assert mixture.bn == 'own'
    torch.testing.assert_close(mixture.network.bn1.running_mean, plain.bn1.running_mean, rtol=0, atol=0)
    assert not torch.allclose(sdr.subnet(best).network.bn1.running_mean, plain.bn1.running_mean)
    # An index or a path alone is no permission for the super-net's: its cluster is looked for.
    assert sdr.subnet(0, resize=32, size=32).bn == 'cluster 3'
    assert sdr.subnet((0, 1), resize=32, size=32).bn == 'cluster 2'
    with pytest.raises(InputError, match='pass --clusters FILE'):
        sdr.subnet(0, clusters=tmp_path / 'gone.npz')
    with pytest.raises(InputError, match='BN statistics from the task need its images'):
        sdr.subnet(0, bn='task')
    with pytest.raises(InputError, match='BN reset is one of'):
        sdr.subnet(0, bn='super-net')
    with pytest.raises(InputError, match='super-net is no sub-net'):
        sdr.subnet(ranking.network('super-net'))


def test_an_option_of_a_sub_net_that_is_wrong_is_not_passed_over(root, sdr, ranking):
    with pytest.raises(InputError, match='unknown options of a sub-net: bn_image; with bn=MODE there are bn_images'):
        sdr.subnet(ranking.best, bn_image=4)
    with pytest.raises(InputError, match='unknown options of a sub-net: bn_images'):
        sdr.subnet(ranking.best, bn=BNReset('none'), bn_images=4)
    for sizes in (dict(resize=0), dict(size=0)):
        with pytest.raises(InputError, match='0 < size <= resize'):
            sdr.subnet(ranking.best, **sizes)
    assert sdr.subnet(np.int64(2), bn='none').path == (1, 0)
    net = sdr.subnet(2, bn='none', resize=32, size=32)
    with pytest.raises(InputError, match='no images in the list'):
        net.features([])
    with pytest.raises(InputError, match='a batch has at least one image, got batch_size=0'):
        net.features(root / 'pool', batch_size=0)
    with pytest.raises(InputError, match='has no resnet50 to compare with: route again with it as --baseline'):
        ranking.gains('resnet50')


def test_a_ranking_of_another_checkpoint_is_refused(root, ranking, tmp_path):
    content = torch.load(root / 'sdr.pth')
    content['state_dict']['backbone.conv1.weight'] += 1e-3
    torch.save(content, tmp_path / 'other.pth')
    other = sdr_mm.load(tmp_path / 'other.pth', device='cpu')
    with pytest.raises(InputError, match='the ranking is of another checkpoint'):
        other.subnet(ranking.best)
    ranking.save(tmp_path / 'routing.json')
    with pytest.raises(InputError, match='the ranking is of another checkpoint'):
        other.subnet(Ranking.load(tmp_path / 'routing.json').best)
    assert other.subnet(ranking.best.subnet, bn='none').index == ranking.best.subnet


def test_a_ranking_from_a_file_gives_the_same_sub_net_and_runs_nothing(root, sdr, ranking, tmp_path):
    ranking.save(tmp_path / 'routing.json')
    net, again = sdr.subnet(ranking.best), sdr.subnet(Ranking.load(tmp_path / 'routing.json').best)
    for key, value in net.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[key], value, rtol=0, atol=0)
    hostile = tmp_path / 'task.py'
    hostile.write_text(f'open({str(tmp_path / "ran")!r}, "w")')
    text = (tmp_path / 'routing.json').read_text().replace(str(root / 'task'), str(hostile))
    (tmp_path / 'hostile.json').write_text(text)
    with pytest.raises(InputError, match='is no folder: pass --task TASK'):
        sdr.subnet(Ranking.load(tmp_path / 'hostile.json').best)
    assert not (tmp_path / 'ran').exists()


def test_features_are_those_of_the_files_in_order(root, sdr):
    net = sdr.subnet(2, resize=32, size=32)
    files = sorted((root / 'pool').iterdir())
    by_hand = extract_subnet(sdr.backbone, (1, 0))
    members = np.arange(24)[1::4]  # Path (1, 0) is sub-net 2, and it belongs to cluster 1.
    store = ImageStore(files, resize=32, size=32)
    reset_bn(by_hand, store.batches(np.random.default_rng([0, 2]).permutation(members), 200, mean=MEAN, std=STD))
    expected = pooled_features(by_hand, store.batches(np.arange(24), 9, mean=MEAN, std=STD))
    torch.testing.assert_close(net.features(root / 'pool'), expected)
    torch.testing.assert_close(net.features(files[:3]), expected[:3])
    arrays = list(store.get(np.arange(2)))
    torch.testing.assert_close(net.features(arrays), expected[:2])
    with pytest.raises(InputError, match='no images in'):
        net.features(root / 'nowhere')


def test_an_export_is_a_stock_resnet_that_knows_how_to_be_evaluated(root, sdr, ranking, tmp_path):
    net = sdr.subnet(ranking.best)
    net.export(tmp_path / 'backbone.pth')
    stock = STOCK.build(net.config)
    stock.load_state_dict(read_checkpoint(tmp_path / 'backbone.pth')['state_dict'])
    stock.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(stock(images)[-1], net(images)[-1], rtol=0, atol=0)
    _, info = load_resnet(tmp_path / 'backbone.pth')
    assert info['settings'] == net.settings and net.settings.size == 32
    meta = read_checkpoint(tmp_path / 'backbone.pth')['meta']
    assert meta['bn_reset']['statistics'] == 'task' and meta['routing']['task'] == 'task'
    with pytest.raises(InputError, match='exists already'):
        net.export(tmp_path / 'backbone.pth')


def test_a_folder_without_labels_is_routed_by_its_looks(root, sdr, tmp_path):
    flat = write(tmp_path / 'flat', CLASSES[:1], 6, 9, classes=False)
    ranking = sdr.route(flat, search='label_free', per_cluster=3, resize=32, size=32)
    assert sum(one.screening for one in ranking.subnets) == pytest.approx(1) and not ranking.scored


def test_algorithms_build_in_python_with_plain_names_and_no_runner():
    norm = dict(type='BN')
    code = f"""
from sdr_mm.models import SimSiamSDR
norm = {norm!r}
model = SimSiamSDR(
    dict({', '.join(f'{key}={value!r}' for key, value in BACKBONE.items())}),
    dict(type='SDRNonLinearNeck', hid_channels=8, out_channels=8, norm_cfg=norm),
    dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
        type='SDRNonLinearNeck', in_channels=8, hid_channels=4, out_channels=8, with_avg_pool=False, norm_cfg=norm)))
print(type(model.head.predictor).__module__, type(model.distillation).__name__)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ['sdr_mm.models.sdr_neck', 'SiamKDLoss'], done.stderr


def test_parts_may_be_modules_as_well_as_configs():
    backbone = network()
    neck = dict(type='SDRNonLinearNeck', hid_channels=8, out_channels=8, norm_cfg=dict(type='BN'))
    predictor = dict(neck, in_channels=8, with_avg_pool=False)
    head = dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=predictor)
    model = SimSiamSDR(backbone, neck, head, distillation=None)
    assert model.backbone is backbone and model.distillation is None
    losses = model.network_loss([torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)], 1)
    assert set(losses) == {'loss_ssl'} and losses['loss_ssl'].requires_grad


@pytest.mark.parametrize('channels', [1, 4])
def test_a_network_for_other_images_than_rgb_is_one_line_where_images_come_in(root, channels, tmp_path):
    content = torch.load(root / 'sdr.pth')
    weight = content['state_dict']['backbone.conv1.weight']
    content['state_dict']['backbone.conv1.weight'] = weight[:, :1].repeat(1, channels, 1, 1)
    content['meta']['cfg'] = content['meta']['cfg'].replace('depth=18', f'depth=18, in_channels={channels}')
    torch.save(content, tmp_path / 'other.pth')
    sdr = sdr_mm.load(tmp_path / 'other.pth', device='cpu')
    message = rf'the network takes images of {channels} channel\(s\), and images are read here with 3 \(RGB\)'
    for use in (lambda: sdr.route(root / 'task', bn='task', resize=32, size=32), lambda: sdr.subnet(0),
                lambda: sdr.subnet(0, bn='none').features(root / 'pool')):
        with pytest.raises(InputError, match=message):
            use()
    # No image is needed here.
    sdr.subnet(0, bn='none').export(tmp_path / 'x.pth')
    assert torch.load(tmp_path / 'x.pth')['state_dict']['conv1.weight'].shape[1] == channels
