"""Routing ranks the sub-nets as one would by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import routing_worker
import torch
from mmpretrain.models.backbones import ResNet
from processes import run_ranks
from repository import load_tool
from routing_data import BACKBONE, CLASSES, MEAN, NORMALIZATION, STD, evaluator, make_run, network, write
from sklearn.neighbors import KNeighborsClassifier

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task, pooled_features
from sdr_mm.images import ImageStore
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.models.zoo import load_network
from sdr_mm.registry import EVALUATORS
from sdr_mm.routing import (
    Cost,
    RankedNetwork,
    Ranking,
    extract_subnet,
    reset_bn,
)
from sdr_mm.space import SubnetSpace

export_tool = load_tool('export_subnet')
tool = load_tool('route')

FAST = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu', '--batch-size', '8', '--k', '5']


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp('run'))
    torch.manual_seed(4)
    baseline = ResNet(depth=18, base_channels=4, stem_channels=4)
    torch.save(baseline.state_dict(), root / 'baseline.pth')
    return root


def test_a_checkpoint_gives_back_its_network_data_and_clusters(run):
    backbone, config = load_sdr(run / 'sdr.pth')
    assert all(torch.equal(value, network().state_dict()[key]) for key, value in backbone.state_dict().items())
    assert EvalSettings.of(config).normalization.mean == (120, 115, 100) and not backbone.training
    pool = load_pool(config, backbone.space)
    assert [Path(path).name for path in pool.paths] == sorted(path.name for path in (run / 'pool').iterdir())


def test_scores_are_those_worked_out_one_by_one(run):
    backbone, config = load_sdr(run / 'sdr.pth')
    pool = load_pool(config, backbone.space)
    ranker = EVALUATORS.build(
        dict(type='RoutingEvaluator', task=str(run / 'official'), baseline=str(run / 'baseline.pth'),
             scorer=dict(k=5), resize=32, size=32, bn=dict(batch_size=7), workers=1))
    result = ranker.evaluate(backbone, pool=pool, normalization=NORMALIZATION)
    assert {row.name for row in result.networks} == {
        'super-net', 'super-net, own BN', 'baseline', 'baseline, own BN', *(f'sub-net {i}' for i in range(4))}

    def score(net, norm):
        sets = []
        for part in ('train', 'val'):
            files = [path for name in CLASSES for path in sorted((run / 'official' / part / name).iterdir())]
            store = ImageStore(files, resize=32, size=32)
            with torch.no_grad():
                x = (torch.tensor(store.get(np.arange(12))).float() - torch.tensor(norm[0])) / torch.tensor(norm[1])
                net.eval()
                sets.append(net(x.permute(0, 3, 1, 2))[-1].mean((2, 3)).double().numpy())
        labels = np.repeat([0, 1], 6)
        knn = KNeighborsClassifier(5, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07))
        return 100 * knn.fit(sets[0], labels).score(sets[1], labels)

    own = (MEAN, STD)
    imagenet = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    images = ImageStore(pool.paths, resize=32, size=32)
    seen = {}
    for index, path in enumerate(backbone.space.paths):
        subnet = extract_subnet(backbone, path)
        members = np.flatnonzero(np.arange(24) % 4 == 3 - index)
        reset_bn(subnet, images.batches(members, 7, mean=MEAN, std=STD))
        row = result.network(f'sub-net {index}')
        assert row.path == list(path) and row.bn == f'cluster {3 - index}'
        assert row.score == pytest.approx(score(subnet, own)), index
        seen[row.name] = row.score
    assert result.network('super-net, own BN').score == pytest.approx(score(backbone, own))
    baseline, _ = load_resnet(run / 'baseline.pth')
    assert result.network('baseline, own BN').score == pytest.approx(score(baseline, imagenet))
    # 24 task images by 8 networks; 4 clusters of 6 and twice the pool of 24.
    assert result.cost.passes == result.cost.one_by_one == 8 * 24 + 4 * 6 + 2 * 24
    assert [row.score for row in result.networks] == sorted((row.score for row in result.networks), reverse=True)
    assert result.best.score == max(seen.values())
    for row in result.networks:
        if row.name != 'baseline':
            assert row.gain_baseline == pytest.approx(row.score - result.network('baseline').score)
        if row.name != 'super-net':
            assert row.gain_supernet == pytest.approx(row.score - result.network('super-net').score)


def test_routing_changes_neither_the_network_nor_its_mode(run):
    backbone, _ = load_sdr(run / 'sdr.pth')
    backbone.train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    evaluator(run / 'task', k=5, resize=32, size=32, bn_reset='task', workers=1).evaluate(backbone)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert backbone.training


def test_the_sub_nets_own_statistics_and_no_others_come_from_bn_reset_none(run):
    backbone, config = load_sdr(run / 'sdr.pth')
    result = evaluator(run / 'task', k=5, resize=32, size=32, bn_reset='none', workers=1).evaluate(backbone)
    assert {row.bn for row in result.networks} == {'own'} and len(result.networks) == 5


def _processes(count, root):
    run_ranks(routing_worker, root, count)
    return [json.loads((root / f'rank{rank}.json').read_text()) for rank in range(count)]


def test_two_processes_find_what_one_finds(run):
    both = _processes(2, run)
    assert both[0] == both[1]
    (count, statistics), (rows, images, message) = both[0]
    one_count, one_statistics = routing_worker.reset(0, 1)
    assert count == one_count == 9
    for key, value in one_statistics.items():
        np.testing.assert_allclose(statistics[key], value, rtol=1e-5, atol=1e-7)
    assert [rows, images, message] == json.loads(json.dumps(routing_worker.route(run)))
    # The error of one rank ends both, and says which network it was.
    assert message.startswith(('sub-net', 'super-net')) and 'not finite' in message


def rows(*scores):
    return [RankedNetwork(f'sub-net {i}', i, [0, i], f'cluster {i}', [score]) for i, score in enumerate(scores)]


SETTINGS = dict(classes=2, train=9, held_out=4, splits=1, k=[200], temperature=0.07, metric='accuracy', size=32,
                resize=32, bn_reset='task', search='exact', columns=['knn k=200'])
COST = Cost(99, 198, 2.0)


def test_the_table_shows_top_bottom_and_the_others():
    others = [RankedNetwork(name, None, None, 'task', [score])
              for name, score in (('super-net', 52.), ('baseline', 48.5))]
    result = Ranking.of('pets', [*others, *rows(50, 60, 40, 55, 45, 60)], SETTINGS, COST)
    assert [row.subnet for row in result.subnets] == [1, 5, 3, 0, 4, 2]
    text = result.table(top=2, bottom=1)
    shown = [line for line in text.splitlines() if 'net' in line or 'baseline' in line]
    assert [line.split()[:3] for line in shown[1:6]] == [
        ['1', 'sub-net', '1'], ['2', 'sub-net', '5'], ['–', 'super-net', 'task'], ['–', 'baseline', 'task'],
        ['6', 'sub-net', '2']]
    assert text.count('1 more') == 3 and '+11.50' in text and '-12.00' in text and 'k = 9' in text
    assert 'optimistic' in text
    np.testing.assert_allclose(result.gains(), [11.5, 11.5, 6.5, 1.5, -3.5, -8.5])


def test_what_is_left_out_of_the_table_is_counted_once():
    others = [RankedNetwork(name, None, None, 'task', [score])
              for name, score in (('super-net', 54.998), ('baseline', 47.))]
    result = Ranking.of('pets', [*others, *rows(50, 60, 40, 55, 45, 35)], SETTINGS, COST)
    text = [line.split()[:2] for line in result.table(top=1, bottom=1).splitlines() if line.strip()[:1] in ('…', '–')]
    assert text == [['…', '1'], ['–', 'super-net'], ['…', '1'], ['–', 'baseline'], ['…', '2']]
    small = Ranking.of('pets', [RankedNetwork('super-net', None, None, 'task', [50.001]), *rows(50)], SETTINGS, COST)
    assert '+0.00' in small.table() and '-0.00' not in small.table()


def test_a_result_survives_the_disk(tmp_path):
    result = Ranking.of('pets', rows(50, 60), SETTINGS, COST)
    result.save(tmp_path / 'r.json')
    assert Ranking.load(tmp_path / 'r.json') == result
    with pytest.raises(InputError, match='exists already'):
        result.save(tmp_path / 'r.json')
    with pytest.raises(InputError, match='no baseline to compare'):
        result.gains()
    (tmp_path / 'x.json').write_text('{}')
    with pytest.raises(InputError, match='no result of routing'):
        Ranking.load(tmp_path / 'x.json')


def entry(*keys, to):
    """A change of one entry of a ranking's JSON, of which ``keys`` are the way; ``...`` takes it out."""
    def change(content):
        *way, last = keys
        for key in way:
            content = content[key]
        content[last] = to
        if to is ...:
            del content[last]
    return change


@pytest.mark.parametrize('change, message', [
    (entry('networks', 1, 'path', to=[0, 0]), 'the number 1 and the path [0, 0], which do not fit'),
    (entry('networks', 3, 'path', to=[1, 0, 0]), 'do not fit'),
    (entry('networks', 0, 'subnet', to=77), 'do not fit'),
    (entry('networks', 2, 'path', to=[-1, 0]), 'do not fit'),
    (entry('networks', 2, 'subnet', to=10**300), 'there is no sub-net'),
    (entry('networks', 0, 'subnet', to=3), 'it has a network twice'),
    (entry('networks', 0, 'name', to='baseline'), 'it has a network twice'),
    (entry('networks', 0, 'subnet', to=None), 'a path and no number, or a number and no path'),
    (entry('networks', 0, 'subnet', to=True), 'subnet is true, not a whole number or null'),
    (entry('networks', 0, 'path', to='0,1'), 'path is "0,1", not a list or null'),
    (entry('networks', 0, 'path', 0, to=0.5), 'path[0] is 0.5, not a whole number'),
    (entry('networks', 0, 'name', to=4), 'name is 4, not text'),
    (entry('networks', 0, 'scores', to=['60']), 'scores[0] is "60", not a finite number'),
    (entry('networks', 0, 'scores', to=[float('nan')]), 'scores[0] is null, not a finite number'),
    (entry('networks', 0, 'scores', to=[10**400]), 'not a finite number'),
    (entry('networks', 0, 'scores', to=[1, 2]), 'has 2 scores in 1 splits'),
    (entry('networks', 0, 'others', to={'logme': 3}), 'others.logme is 3, not a list'),
    (entry('networks', 0, 'colour', to='red'), 'unknown entry "colour"'),
    (entry('networks', 0, 'scores', to=...), 'networks[0] has no scores'),
    (entry('networks', to=[]), 'it has no sub-net'),
    (entry('networks', 0, to=7), 'networks[0] is 7, not a record'),
    (entry('settings', to=...), 'settings is null, not a record'),
    (entry('settings', 'columns', to=[]), 'no columns'),
    (entry('settings', 'columns', to='knn'), 'columns is "knn", not a list'),
    (entry('settings', 'train', to='many'), 'train is "many", not a whole number'),
    (entry('settings', 'k', to=...), 'settings has no k'),
    (entry('settings', 'k', to=[0.5]), 'k[0] is 0.5'),
    (entry('settings', 'classes', to=0), 'settings has no images'),
    (entry('settings', 'task', to='/etc'), 'task is "/etc", not a record'),
    (entry('settings', 'batch_size', to='2'), 'batch_size is "2"'),
    (entry('cost', 'passes', to=0), 'the cost is'),
    (entry('cost', 'seconds', to=-1), 'the cost is'),
    (entry('cost', 'seconds', to=...), 'cost has no seconds'),
    (entry('shortcuts', to='none'), 'shortcuts is "none", not a list'),
    (entry('agreement', to={'logme': {'spearman': 1}}), 'agreement.logme has no kendall'),
    (entry('task', to=None), 'task is null, not text'),
    (entry('format', to='sdr_mm routing 2'), 'its format is not'),
    (entry('more', to=1), "unknown entry 'more'"),
])
def test_a_result_in_which_something_cannot_be_is_refused_in_one_line(change, message, tmp_path):
    others = [RankedNetwork('baseline', None, None, 'task', [48.5])]
    Ranking.of('pets', [*others, *(replace(row, path=[i // 2, i % 2]) for i, row in enumerate(rows(60, 50, 40, 30)))],
               SETTINGS, COST).save(tmp_path / 'r.json')
    content = json.loads((tmp_path / 'r.json').read_text())
    assert [row['name'] for row in content['networks']] == ['sub-net 0', 'sub-net 1', 'baseline', 'sub-net 2',
                                                            'sub-net 3']
    content['networks'].append(content['networks'].pop(2))
    change(content)
    (tmp_path / 'r.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        Ranking.load(tmp_path / 'r.json')
    assert str(error.value).startswith(f'{tmp_path / "r.json"} is no result of routing')
    assert '\n' not in str(error.value)


def test_gains_and_order_of_a_file_follow_from_its_scores(tmp_path):
    result = Ranking.of('pets', [RankedNetwork('baseline', None, None, 'task', [55.]), *rows(50, 60)], SETTINGS, COST,
                        agreement={'logme': dict(spearman=float('nan'), kendall=0.5, regret=1., networks=2.)})
    result.save(tmp_path / 'r.json')
    content = json.loads((tmp_path / 'r.json').read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    content['networks'].reverse()
    content['networks'][0].update(gain_baseline=99, score=99)
    (tmp_path / 'r.json').write_text(json.dumps(content))
    loaded = Ranking.load(tmp_path / 'r.json')
    assert loaded.networks == result.networks and loaded.table() == result.table()
    assert np.isnan(loaded.agreement['logme']['spearman'])


def test_some_sub_nets_of_a_space_are_known_by_their_paths(tmp_path):
    space = SubnetSpace(5, 3)
    for subnets in ([7], [3, 1], [0], [124, 2], [26, 50]):
        networks = [RankedNetwork(f'sub-net {i}', i, list(space.path(i)), 'task', [1.]) for i in subnets]
        Ranking.of('pets', networks, SETTINGS, COST).save(tmp_path / 'r.json', overwrite=True)
        assert {network.subnet for network in Ranking.load(tmp_path / 'r.json').subnets} == set(subnets)


@pytest.mark.parametrize('mode', ['cluster', 'task'])
def test_the_exported_network_is_the_one_that_was_ranked(mode, run, tmp_path, capsys):
    out, pth = tmp_path / 'routing.json', tmp_path / 'best.pth'
    tool.main([str(run / 'sdr.pth'), '--task', str(run / 'task'), '--baseline', str(run / 'baseline.pth'), '--bn-reset',
               mode, '--bn-images', '10', '--splits', '2', '--out', str(out), *FAST])
    text = capsys.readouterr().out
    result = Ranking.load(out)
    assert 'over baseline' in text and f'written to {out}' in text
    assert ('compare with --bn-reset task' in text) == (mode == 'cluster')
    export_tool.main([str(run / 'sdr.pth'), '--routing', str(out), '--out', str(pth), '--device', 'cpu'])
    exported, _ = load_resnet(pth)
    task = Task.from_folder(run / 'task', splits=2)
    features = pooled_features(
        exported, ImageStore(task.paths, resize=32, size=32).batches(
            np.arange(len(task.paths)), 8, mean=MEAN, std=STD)).double().numpy()
    scores = []
    for split in task.splits:
        knn = KNeighborsClassifier(5, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07))
        knn.fit(features[split.train], task.labels[split.train])
        scores.append(100 * knn.score(features[split.test], task.labels[split.test]))
    assert result.best.scores == pytest.approx(scores)


def test_data_and_clusters_may_lie_elsewhere(run, tmp_path):
    moved = tmp_path / 'moved'
    (run / 'pool').rename(moved)
    try:
        arguments = [str(run / 'sdr.pth'), '--task', str(run / 'task'), '--bn-images', '4', *FAST]
        with pytest.raises(InputError, match='pass --data FOLDER, or pass --bn-reset task'):
            tool.main(arguments)
        tool.main([*arguments, '--data', str(moved)])
    finally:
        moved.rename(run / 'pool')


def _of(change):
    def make(folder, checkpoint):
        content = torch.load(checkpoint)
        change(content)
        torch.save(content, folder / 'x.pth')
        return [str(folder / 'x.pth')]
    return make


def _no_config(content):
    del content['meta']['cfg']


def _stock_config(content):
    content['meta']['cfg'] = content['meta']['cfg'].replace('SDRResNet', 'ResNet')


def _other_layout(content):
    content['meta']['cfg'] = content['meta']['cfg'].replace('num_groups=2', 'num_groups=3')


def _no_clusters(content):
    content['meta']['cfg'] = content['meta']['cfg'].replace('clusters.npz', 'gone.npz')


def _other_images(folder, checkpoint):
    return [str(checkpoint), '--data', str(write(folder / 'other', CLASSES, 2, 9))]


def _other_clusters(folder, checkpoint):
    Clusters(np.zeros(24, int), np.ones((2, 2)), np.array([[0], [1]]), 2, '0' * 64, 'random').save(folder / 'c.npz')
    return [str(checkpoint), '--clusters', str(folder / 'c.npz')]


@pytest.mark.parametrize('make, message', [
    (lambda folder, checkpoint: ['gone.pth'], 'there is no file gone.pth'),
    (_of(_no_config), 'no checkpoint of an SDRNet'),
    (_of(_stock_config), 'no checkpoint of an SDRNet'),
    (_of(_other_layout), 'has another shape for .*give a checkpoint of the same layout'),
    (_of(_no_clusters), 'gone.npz: pass --clusters FILE, or pass --bn-reset task'),
    (_other_images, 'made from another image list'),
    (_other_clusters, '2 clusters .* for 4 sub-nets|assigns'),
    (lambda folder, checkpoint: [str(checkpoint), '--baseline', 'gone.pth'], 'gone.pth'),
    (lambda folder, checkpoint: [str(checkpoint), '--temperature', '0'], '--temperature: it is a finite number'),
    (lambda folder, checkpoint: [str(checkpoint), '--bn-images', '1'], '--bn-images: .* at least 2'),
])
def test_bad_input_is_one_line_and_writes_nothing(make, message, run, tmp_path):
    arguments = make(tmp_path, run / 'sdr.pth')
    out = tmp_path / 'routing.json'
    with pytest.raises(InputError, match=message) as caught:
        tool.main([*arguments, '--task', str(run / 'task'), '--out', str(out), *FAST])
    assert '\n' not in str(caught.value) and not out.exists()


def test_an_existing_result_is_refused_before_the_work(run, tmp_path):
    out = tmp_path / 'routing.json'
    out.write_text('precious')
    with pytest.raises(InputError, match='exists already'):
        tool.main(['gone.pth', '--task', 'gone', '--out', str(out)])
    assert out.read_text() == 'precious'


def test_the_tiny_network_is_no_stock_super_net():
    # Routing must serve such spaces too: the super-net is scored as it is, not as an extracted ResNet.
    with pytest.raises(InputError):
        network().supernet_config()
    assert BACKBONE['routed_blocks'] == (2, 3)


def test_a_network_to_compare_with_is_read_once_and_keeps_its_own_statistics(run, monkeypatch):
    read = []
    monkeypatch.setattr('sdr_mm.routing.evaluator.load_network', lambda *args: read.append(args) or load_network(*args))
    backbone, _ = load_sdr(run / 'sdr.pth')
    ranking = evaluator(run / 'task', bn_reset='task', resize=32, size=32, k=3, baseline=run / 'baseline.pth').evaluate(
        backbone, normalization=NORMALIZATION)
    assert read == [(str(run / 'baseline.pth'), 'baseline')]
    # As if no statistics had been measured before.
    alone = evaluator(run / 'task', bn_reset='none', resize=32, size=32, k=3, baseline=run / 'baseline.pth').evaluate(
        backbone, normalization=NORMALIZATION)
    assert ranking.network('baseline, own BN').scores == alone.network('baseline').scores
    assert ranking.network('baseline').bn == 'task' and ranking.network('baseline, own BN').bn == 'own'


def test_networks_to_compare_with_are_loaded_before_an_image_is_read(run, tmp_path):
    task = write(tmp_path / 'task', CLASSES, 6, 2)
    next(task.rglob('*.png')).write_bytes(b'no image')
    backbone, _ = load_sdr(run / 'sdr.pth')
    for options in (dict(baseline='nowhere.pth'), dict(candidates=['nowhere.pth'])):
        with pytest.raises(InputError, match='nowhere.pth'):
            evaluator(task, bn_reset='task', resize=32, size=32, **options).evaluate(backbone)
    with pytest.raises(InputError, match='cannot be decoded'):
        evaluator(task, bn_reset='task', resize=32, size=32).evaluate(backbone)
