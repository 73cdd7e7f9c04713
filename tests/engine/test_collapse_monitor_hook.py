"""CollapseMonitorHook: what it measures, against NumPy; trainings that collapse and trainings that do not."""

from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import SimSiam
from mmpretrain.structures import DataSample
from repository import ROOT
from torch.utils.data import Dataset

from sdr_mm.engine.collapse_monitor_hook import (
    MAX_IMAGES,
    CollapseMonitorHook,
    effective_rank,
    gram,
    network_name,
    spread,
)
from sdr_mm.errors import InputError
from sdr_mm.models.simsiam_sdr import SimSiamSDR
from sdr_mm.registry import MODELS
from sdr_mm.space import SUPERNET

NUMBER = count()
SMALL = 'configs/small/{}simsiam_resnet18_b64-15e_32px.py'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('sdr_mm')


def rank_by_definition(rows):
    """Roy and Vetterli, definition 1, of the matrix of second moments."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.svd(rows.T @ rows, compute_uv=False)
    share = values[values > 1e-12] / values.sum()
    return np.exp(-(share * np.log(share)).sum())


@pytest.mark.parametrize('shape', [(8, 64), (32, 512), (40, 12), (64, 300)])
def test_effective_rank_and_spread_follow_their_definitions(shape):
    rows = np.random.default_rng(0).normal(0.3, size=shape) * np.linspace(0.1, 3, shape[1])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    tensor = torch.tensor(rows, dtype=torch.float32)
    assert effective_rank(gram(tensor)) == pytest.approx(rank_by_definition(rows), rel=1e-4)
    assert spread(tensor).item() == pytest.approx(np.sqrt(((unit - unit.mean(0))**2).sum(1).mean()), rel=1e-4)


def test_effective_rank_and_spread_of_known_shapes():
    assert effective_rank(gram(3 * torch.eye(64)[:9])) == pytest.approx(9)
    line = torch.linspace(-1, 1.1, 16)[:, None] * torch.randn(64)
    assert effective_rank(gram(line)) == pytest.approx(1, abs=1e-4), 'on one line, whatever its two ends'
    assert effective_rank(gram(torch.ones(16, 64))) == pytest.approx(1, abs=1e-4), 'constant, as without a last norm'
    assert spread(torch.ones(16, 64)) < 1e-5 and spread(line) > 0.9
    assert spread(torch.randn(500, 64)) == pytest.approx(1, abs=0.05)
    broken = torch.full((4, 8), float('nan'))
    assert np.isnan(effective_rank(gram(broken))) and spread(broken).isnan()
    many = torch.randn(500, 64)
    assert gram(many).shape == (MAX_IMAGES, MAX_IMAGES)
    with torch.autocast('cpu', torch.bfloat16):
        half = gram(many)
    assert torch.equal(half, gram(many)), 'in float32 whatever autocast says'


class Blots(Dataset):
    """Two crops of each of some pictures of random blots."""

    def __init__(self, count=256):
        random = torch.Generator().manual_seed(0)
        small = torch.rand(count, 3, 12, 12, generator=random)
        self.pictures = F.interpolate(small, size=24, mode='bicubic').clamp(0, 1) * 255

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        views = []
        for _ in range(2):
            size = int(torch.randint(14, 25, ()))
            top, left = (int(torch.randint(0, 25 - size, ())) for _ in range(2))
            crop = self.pictures[index, :, top:top + size, left:left + size]
            views.append(F.interpolate(crop[None], size=16, mode='bilinear')[0])
        return dict(inputs=views, data_samples=DataSample())


@MODELS.register_module()
class WithoutStopGradient(SimSiam):
    """SimSiam that collapses."""

    def loss(self, inputs, data_samples, **kwargs):
        z1, z2 = (self.neck(self.backbone(view))[0] for view in inputs)
        p1, p2 = (self.head.predictor((z, ))[0] for z in (z1, z2))
        return dict(loss=-(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2)


class Log:
    """What the hook logs and warns of in a real run."""

    def __init__(self, runner):
        self.scalars, self.warnings = [], []
        runner.visualizer.add_scalars = lambda values, **_: self.scalars.append(values)
        runner.logger.warning = self.warnings.append

    def collapsed(self):
        return [line for line in self.warnings if 'collapsed' in line]

    def values(self, key):
        return [values[key] for values in self.scalars if key in values]


def train_recipe(tmp_path, kind, batch_size, iterations, lr=0.05):
    """The small recipe's model, projector and optimizer, but narrower and at 16 px."""
    cfg = Config.fromfile(ROOT / SMALL.format(''))
    cfg.merge_from_dict(dict(model=dict(
        type=kind, backbone=dict(stem_channels=8, base_channels=8),
        neck=dict(in_channels=64, hid_channels=64, out_channels=64),
        head=dict(predictor=dict(in_channels=64, hid_channels=16, out_channels=64)))))
    runner = Runner(
        model=dict(cfg.model, data_preprocessor=cfg.data_preprocessor), work_dir=str(tmp_path),
        experiment_name=f'{tmp_path}{next(NUMBER)}', default_scope='sdr_mm',
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        train_dataloader=dict(batch_size=batch_size, dataset=Blots(), drop_last=True, num_workers=0,
                              collate_fn=dict(type='default_collate'),
                              sampler=dict(type='InfiniteSampler', shuffle=True)),
        optim_wrapper=dict(optimizer=dict(cfg.optim_wrapper.optimizer, lr=lr)),
        custom_hooks=[dict(type='CollapseMonitorHook', interval=1)],
        default_hooks=dict(checkpoint=None), log_level='ERROR', randomness=dict(seed=0))
    log = Log(runner)
    runner.train()
    return log


def test_simsiam_without_stop_gradient_is_seen_to_collapse_and_simsiam_is_not(tmp_path):
    """Behind the projector of the recipes, whose last norm keeps the std of its output at 1."""
    collapsed = train_recipe(tmp_path / 'without', 'WithoutStopGradient', 16, 120)
    ranks = collapsed.values('networks/WithoutStopGradient/effective_rank')
    assert ranks[0] > 10 and np.median(ranks[-20:]) < 1.3 and max(ranks[-20:]) < 1.8
    line, = collapsed.collapsed()
    assert line.startswith('WithoutStopGradient has collapsed: in 10 of its iterations in a row its output lay on one')
    healthy = train_recipe(tmp_path / 'with', 'SimSiam', 16, 120)
    assert not healthy.collapsed()
    ranks = healthy.values('networks/SimSiam/effective_rank')
    assert min(max(ranks[i:i + 10]) for i in range(111)) > 2
    assert len(healthy.values('networks/SimSiam/loss')) == len(healthy.values('networks/SimSiam/feature_spread')) == 120


class Recorder:
    """Runner-like: drives a hook with a real model, and keeps what it says to the visualizer and to the log."""

    def __init__(self, hook, model):
        self.hook, self.model, self.iter = hook, model, 0
        self.scalars, self.warnings = [], []
        self.visualizer = SimpleNamespace(add_scalars=lambda values, step: self.scalars.append((step, values)))
        self.logger = SimpleNamespace(warning=self.warnings.append)
        hook.before_train(self)

    def feed(self, **outputs):
        tensors = {name: torch.tensor(float(value)) for name, value in outputs.items()}
        self.hook.after_train_iter(self, 0, outputs=tensors)
        self.iter += 1


class Projector(torch.nn.Module):
    """A neck that returns what it is given, as if it had been learned."""

    def forward(self, x, path=None, update_stats=True):
        return (x[0], )


class Fed(BaseModel):

    def __init__(self):
        super().__init__()
        self.neck = Projector()

    def forward(self, rows, path=None):
        self.neck((rows.requires_grad_(), ), path)


HEALTHY = torch.eye(16)[:6]
ONE_LINE = torch.tensor([1., 1., -1., 1., -1., -1.])[:, None] * torch.ones(16)


def fed(**options):
    return Recorder(CollapseMonitorHook(**options), Fed())


def feed(runner, rows, network, path=(0, ), **losses):
    runner.model(rows.clone(), None if network == SUPERNET else path)
    runner.feed(network=network, loss=-2, loss_ssl=-1, **losses)


def test_collapse_is_told_from_a_dip_and_named_once():
    runner = fed(patience=3)
    for rows in (HEALTHY, ONE_LINE, ONE_LINE, HEALTHY, ONE_LINE, ONE_LINE):
        feed(runner, rows, 7)
        feed(runner, HEALTHY, 8)
    assert not runner.warnings
    for rows in 5 * [ONE_LINE] + [HEALTHY] + 5 * [ONE_LINE]:
        feed(runner, rows, 7)
    assert len(runner.warnings) == 1 and 'subnet_007 has collapsed' in runner.warnings[0]
    assert 'at iteration 13 with an effective rank of 1.00 and a spread of 1 over 6 images' in runner.warnings[0]


@pytest.mark.parametrize('rows', [ONE_LINE, torch.ones(6, 16), torch.full((6, 16), float('nan')), torch.zeros(6, 16)])
def test_collapse_stops_the_run_if_told_to(rows):
    runner = fed(patience=2, action='stop')
    feed(runner, rows, SUPERNET)
    with pytest.raises(InputError, match='supernet has collapsed'):
        feed(runner, rows, SUPERNET)


def test_constant_features_are_collapse_whatever_the_projection():
    runner = fed(patience=1)
    runner.model.neck.register_forward_pre_hook(lambda neck, args: ((torch.ones(6, 16), ), *args[1:]))
    runner.model.neck.forward = lambda x, path=None: (HEALTHY.clone().requires_grad_(), )
    feed(runner, HEALTHY, 3)
    assert len(runner.warnings) == 1 and 'spread of' in runner.warnings[0]


@pytest.mark.parametrize('others, collapsed', [(2, True), (3, False)])
def test_a_rank_of_less_than_two_is_collapse(others, collapsed):
    runner = fed(patience=1)
    rows = torch.eye(16)[[0] * (9 - others) + [1] * others]  # of rank 1.70 and 1.89
    feed(runner, rows, 3)
    assert len(runner.warnings) == collapsed


@pytest.mark.parametrize('images, judged', [(2, False), (3, True)])
def test_two_images_have_no_rank_to_lose(images, judged):
    runner = fed(patience=1)
    feed(runner, ONE_LINE[1:1 + images], 3)
    assert len(runner.warnings) == judged


def test_each_network_is_logged_under_its_name_at_most_once_per_interval():
    runner = fed(interval=4)
    for network in (3, SUPERNET, 3, SUPERNET, 3, 3):
        feed(runner, HEALTHY, network, loss_kd=-1)
    assert [(step, min(values)) for step, values in runner.scalars] == [
        (1, 'networks/subnet_003/effective_rank'), (2, 'networks/supernet/effective_rank'),
        (5, 'networks/subnet_003/effective_rank')]
    assert runner.scalars[0][1] == {
        'networks/subnet_003/loss_ssl': -1, 'networks/subnet_003/loss_kd': -1,
        'networks/subnet_003/effective_rank': pytest.approx(6),
        'networks/subnet_003/feature_spread': pytest.approx((5 / 6)**0.5)}


def test_unless_told_otherwise_a_network_is_logged_every_fifty_iterations():
    runner = fed()
    for _ in range(101):
        feed(runner, HEALTHY, 3)
    assert [step for step, _ in runner.scalars] == [1, 51, 101]


def test_joint_iteration_logs_and_watches_both_networks():
    runner = fed(patience=1)
    runner.model(ONE_LINE.clone(), None)
    runner.model(HEALTHY.clone(), (0, ))
    runner.feed(network=5, loss_ssl=-1, loss_kd=-0.8, loss_ssl_supernet=-0.5)
    assert [line.split()[0] for line in runner.warnings] == ['supernet']
    supernet, subnet = (values for _, values in runner.scalars)
    assert {key.split('/')[-1] for key in supernet} == {'loss_ssl', 'effective_rank', 'feature_spread'}
    assert supernet['networks/supernet/loss_ssl'] == -0.5
    assert subnet['networks/subnet_005/loss_kd'] == pytest.approx(-0.8)


def test_the_projection_of_the_first_view_is_measured_and_no_prediction_or_teacher():
    norm = dict(type='BN')
    model = SimSiamSDR(
        backbone=dict(type='SDRResNet', depth=18, base_channels=(5, 3), stem_channels=8),
        neck=dict(type='SDRNonLinearNeck', hid_channels=32, out_channels=32, num_layers=3, with_last_bn_affine=False,
                  norm_cfg=norm),
        head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
            type='SDRNonLinearNeck', in_channels=32, hid_channels=16, out_channels=32, with_avg_pool=False,
            with_last_bn=False, norm_cfg=norm))).train()
    runner = Recorder(CollapseMonitorHook(), model)
    views = [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32)]
    path = model.backbone.space.path(27)
    losses = model.loss(views, [DataSample(metainfo=dict(network=27))] * 6)
    runner.feed(**losses)
    with torch.no_grad():
        features = model.backbone(views[0], path)
        projection = model.neck(features, path)[0]
    (_, values), = runner.scalars
    expected = rank_by_definition(projection.numpy())
    assert values['networks/subnet_027/effective_rank'] == pytest.approx(expected, rel=1e-4)
    pooled = features[0].mean((2, 3))
    assert values['networks/subnet_027/feature_spread'] == pytest.approx(spread(pooled).item(), rel=1e-4)


def test_a_model_without_a_projector_is_refused():
    with pytest.raises(InputError, match='cannot watch Linear, which has no neck'):
        Recorder(CollapseMonitorHook(), torch.nn.Linear(1, 1))


def test_names_sort_and_the_action_is_checked():
    assert [network_name(network) for network in (SUPERNET, 7, 255)] == ['supernet', 'subnet_007', 'subnet_255']
    with pytest.raises(InputError, match='warn'):
        CollapseMonitorHook(action='explode')
