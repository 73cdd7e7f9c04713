"""A backbone that the package does not know trains, clusters, routes and leaves as a plain network.

It is written here in a few lines, against the contract of ``sdr_mm.models.SDRBackbone``. Nothing in the package
names it.
"""

import json

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import Runner
from repository import ROOT
from routing_data import CLASSES, MEAN, NORMALIZATION, STD, evaluator, write
from torch import nn

import sdr_mm
from sdr_mm.clustering.build import build_clusters
from sdr_mm.clustering.features import extract_features
from sdr_mm.datasets import ImageFolder
from sdr_mm.errors import InputError
from sdr_mm.evaluation import pooled_features
from sdr_mm.images import ImageStore
from sdr_mm.models import ChannelLayout, SDRBackbone
from sdr_mm.models.backbone import build_plain, pool_features
from sdr_mm.models.checkpoints import read_state_dict
from sdr_mm.models.sliced import SlicedBatchNorm, SlicedConv2d
from sdr_mm.registry import MODELS
from sdr_mm.routing import extract_subnet, reset_bn
from sdr_mm.space import SubnetSpace

WIDTHS = (6, 8, 10)


class PlainStage(nn.Sequential):
    """Convolution, norm, ReLU; a plain network's part."""

    def __init__(self, inputs, outputs):
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs),
                         nn.ReLU())


@MODELS.register_module(force=True)
class PlainChain(BaseModule):
    """The plain network that a sub-net of :class:`SDRChain` is."""

    def __init__(self, widths, init_cfg=None):
        super().__init__(init_cfg)
        self.stem, self.first, self.second = (
            PlainStage(inputs, outputs) for inputs, outputs in zip((3, *widths), widths))

    def forward(self, x):
        return (self.second(self.first(self.stem(x))), )


class SDRStage(nn.Sequential):
    """The same with a slice for each path."""

    def __init__(self, inputs, outputs):
        super().__init__(SlicedConv2d(inputs, outputs, 3, stride=2, padding=1), SlicedBatchNorm(outputs), nn.ReLU())

    def forward(self, x, path, update_stats):
        conv, norm, relu = self
        return relu(norm(conv(x, path), path, update_stats))


@MODELS.register_module(force=True)
class SDRChain(SDRBackbone):
    """Three stages, the last two of which are routed; no residual, no ResNet."""

    def __init__(self, num_groups=2, init_cfg=None):
        super().__init__(init_cfg)
        self.space = SubnetSpace(num_groups, 2)
        self.in_channels = 3
        layouts = [ChannelLayout(3), ChannelLayout(WIDTHS[0]),
                   *(ChannelLayout(width - 3, 3, num_groups, block) for block, width in enumerate(WIDTHS[1:]))]
        self.stem, self.first, self.second = (SDRStage(*pair) for pair in zip(layouts, layouts[1:]))
        self.out_layout = layouts[-1]
        self.segments = [['stem'], ['first'], ['second']]

    def forward(self, x, path=None, update_stats=True):
        path = self.check_path(path)
        for stage in (self.stem, self.first, self.second):
            x = stage(x, path, update_stats)
        return (x, )

    def subnet_config(self):
        return dict(type='PlainChain', widths=WIDTHS)


NECK = dict(type='SDRNonLinearNeck', hid_channels=8, out_channels=8, norm_cfg=dict(type='BN'))
PREDICTOR = dict(type='SDRNonLinearNeck', in_channels=8, hid_channels=4, out_channels=8, with_avg_pool=False,
                 with_last_bn=False, norm_cfg=dict(type='BN'))
MODEL = dict(
    type='SimSiamSDR', backbone=dict(type='SDRChain'), neck=NECK,
    head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=PREDICTOR),
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True))


def train(root, clusters, work_dir):
    view = [dict(type='RandomResizedCrop', scale=32, backend='pillow')]
    pipeline = [dict(type='LoadImage'), dict(type='MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]
    Runner.from_cfg(dict(
        experiment_name='a second backbone', default_scope='sdr_mm', work_dir=str(work_dir), model=MODEL,
        evaluation=dict(resize=32, size=32, k=5),
        train_dataloader=dict(
            batch_size=6, num_workers=0, drop_last=False, collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True), batch_sampler=dict(type='ClusterAwareSampler'),
            dataset=dict(type='ClusterDataset', clusters=str(clusters),
                         dataset=dict(type='ImageFolder', data_root=str(root / 'pool'), pipeline=pipeline))),
        optim_wrapper=dict(type='SubnetOptimWrapper', optimizer=dict(type='SGD', lr=0.05, weight_decay=1e-4)),
        train_cfg=dict(type='SDRTrainLoop', max_epochs=3),
        custom_hooks=[dict(type='ProgressiveTrainingHook'), dict(type='SubnetStepHook'),
                      dict(type='CollapseMonitorHook'),
                      dict(type='RoutingHook', evaluator=dict(task=str(root / 'task'), bn='task', scorer=dict(k=5)))],
        randomness=dict(seed=0), log_level='ERROR')).train()
    return work_dir / 'epoch_3.pth'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Pool, task, clusters from its own features, and a checkpoint."""
    root = tmp_path_factory.mktemp('chain')
    write(root / 'pool', CLASSES, 16, 1, classes=False)
    write(root / 'task', CLASSES, 10, 2)
    torch.manual_seed(0)
    plain = build_plain(dict(type='PlainChain', widths=WIDTHS))
    features = extract_features(
        plain, ImageFolder(str(root / 'pool')), root / 'features', normalization=NORMALIZATION, resize=32, size=32,
        pool=pool_features)
    assert features.array.shape == (32, WIDTHS[-1])
    build_clusters(features, SubnetSpace(2, 2), assign='posterior', min_size=6, epochs=2).save(root / 'clusters.npz')
    return root, train(root, root / 'clusters.npz', root / 'run')


def test_every_sub_net_is_the_plain_network_and_all_of_them_were_trained(run):
    _, checkpoint = run
    sdr = sdr_mm.load(checkpoint, device='cpu')
    assert isinstance(sdr.backbone, SDRChain) and (sdr.settings.size, sdr.settings.k) == (32, 5)
    images = torch.randn(2, 3, 32, 32)
    initial = {key: value for key, value in SDRChain().state_dict().items() if 'norm' not in key}
    assert all(not torch.equal(value, initial[key]) for key, value in sdr.backbone.state_dict().items()
               if key.endswith('weight'))
    for path in sdr.space.paths:
        plain = extract_subnet(sdr.backbone, path)
        assert type(plain) is PlainChain
        with torch.no_grad():
            torch.testing.assert_close(plain(images)[-1], sdr.backbone(images, path)[-1], rtol=1e-5, atol=1e-6)


def test_routing_is_that_of_networks_one_by_one(run):
    root, checkpoint = run
    sdr = sdr_mm.load(checkpoint, device='cpu')
    tree = sdr.route(root / 'task', bn='task', splits=2)
    alone = sdr.route(root / 'task', bn='task', splits=2, share_prefixes=False)
    assert tree.cost.passes < alone.cost.passes == alone.cost.one_by_one
    for network in tree.networks:
        assert network.scores == pytest.approx(alone.network(network.name).scores), network.name
    on_cluster = evaluator(root / 'task', k=5, resize=32, size=32, splits=2).evaluate(
        sdr.backbone, pool=sdr.pool(), normalization=NORMALIZATION)
    assert sorted(network.bn for network in on_cluster.subnets) == [f'cluster {i}' for i in range(4)]
    written = json.loads((root / 'run/routing/task_epoch_3.json').read_text())
    assert {network['name'] for network in written['networks']} >= {f'sub-net {i}' for i in range(4)}


def test_it_leaves_as_a_plain_network_with_the_statistics_it_was_ranked_with(run, tmp_path):
    root, checkpoint = run
    sdr = sdr_mm.load(checkpoint, device='cpu')
    ranking = sdr.route(root / 'task', bn='task')
    net = sdr.subnet(ranking.best)
    net.export(tmp_path / 'plain.pth')
    plain = PlainChain(WIDTHS)
    plain.load_state_dict(read_state_dict(tmp_path / 'plain.pth'))
    by_hand = extract_subnet(sdr.backbone, ranking.best.path)
    files = sorted((root / 'task').rglob('*.png'))
    store = ImageStore(files, resize=32, size=32)
    # All 14 in one batch, since a batch's own statistics decide what later layers see.
    reset_bn(by_hand, store.batches(ranking.images.splits[0].train, 200, mean=MEAN, std=STD))
    every = store.batches(np.arange(20), 7, mean=MEAN, std=STD)
    torch.testing.assert_close(pooled_features(plain.eval(), every), net.features(root / 'task'))
    net.export(tmp_path / 'plain.pt2', 'torch.export', card=tmp_path / 'plain.md')
    images = torch.randn(3, 3, 32, 32)
    graph = torch.export.load(tmp_path / 'plain.pt2').module()
    with torch.no_grad():
        torch.testing.assert_close(graph(images), pool_features(net(images)))
    with pytest.raises(InputError, match='the format timm is for ResNets, and this network is a PlainChain'):
        net.export(tmp_path / 'x', 'timm')
    torch.testing.assert_close(plain.second[1].running_var, by_hand.second[1].running_var, rtol=1e-5, atol=1e-7)
    supernet = extract_subnet(sdr.backbone, ranking.best.path)
    assert not torch.allclose(plain.second[1].running_var, supernet.second[1].running_var)


def test_the_package_names_no_such_network():
    sources = [path.read_text() for path in (ROOT / 'sdr_mm').rglob('*.py')]
    assert not any('Chain' in source for source in sources)
    # Routing, clustering and the front door name no ResNet as a class, and pool by the contract.
    for room in ('routing', 'clustering'):
        for path in (ROOT / 'sdr_mm' / room).rglob('*.py'):
            code = '\n'.join(line for line in path.read_text().splitlines() if line.startswith(('from', 'import')))
            assert 'ResNet' not in code and '.mean((2, 3))' not in path.read_text(), path
