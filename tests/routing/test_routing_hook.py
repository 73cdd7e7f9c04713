"""Routing inside a Runner."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from routing_data import BACKBONE, MEAN, NORMALIZATION, STD, make_run
from torch import nn

from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.registry import HOOKS
from sdr_mm.routing import Ranking, RoutingEvaluator, RoutingHook

EVALUATOR = dict(scorer=dict(k=5), bn=dict(batch_size=8), workers=1)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


def runner(root, work_dir, hook, name):
    """Two epochs of a tiny SDR run whose images are those of ``root``."""
    init_default_scope('sdr_mm')
    view = [dict(type='RandomResizedCrop', scale=32, backend='pillow')]
    pipeline = [dict(type='LoadImage'), dict(type='MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]
    neck = dict(type='SDRNonLinearNeck', hid_channels=8, out_channels=8, num_layers=2, norm_cfg=dict(type='BN'))
    predictor = dict(type='SDRNonLinearNeck', in_channels=8, hid_channels=4, out_channels=8, with_avg_pool=False,
                     with_last_bn=False, with_last_bias=True, norm_cfg=dict(type='BN'))
    return Runner.from_cfg(dict(
        experiment_name=name,
        default_scope='sdr_mm',
        work_dir=str(work_dir),
        model=dict(
            type='SimSiamSDR', backbone=BACKBONE, neck=neck,
            head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=predictor),
            distillation=dict(type='SiamKDLoss'),
            data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True)),
        train_dataloader=dict(
            batch_size=6, num_workers=0, drop_last=False, collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_sampler=dict(type='ClusterAwareSampler'),
            dataset=dict(type='ClusterDataset', clusters=str(root / 'clusters.npz'),
                         dataset=dict(type='ImageFolder', data_root=str(root / 'pool'), pipeline=pipeline))),
        optim_wrapper=dict(type='SubnetOptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='SDRTrainLoop', max_epochs=2),
        custom_hooks=[dict(type='ProgressiveTrainingHook'), dict(type='SubnetStepHook'), hook],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        randomness=dict(seed=0),
        log_level='ERROR'))


@pytest.mark.parametrize('interval, epochs', [(0, [2]), (1, [1, 2])])
def test_rankings_are_written_when_due_and_are_those_of_the_checkpoint(interval, epochs, root, tmp_path):
    hook = dict(type='RoutingHook', interval=interval, evaluator=dict(EVALUATOR, task=str(root / 'task')))
    run = runner(root, tmp_path, hook, f'routing hook {interval}')
    run.train()
    written = sorted(path.name for path in (tmp_path / 'routing').iterdir())
    assert written == [f'task_epoch_{epoch}.json' for epoch in epochs]
    for epoch in epochs:
        found = Ranking.load(tmp_path / 'routing' / f'task_epoch_{epoch}.json')
        backbone, config = load_sdr(tmp_path / f'epoch_{epoch}.pth')
        # The run crops to 32 px, and so does the routing; its short side is larger by the paper's ratio.
        expected = RoutingEvaluator(root / 'task', resize=37, size=32, **EVALUATOR).evaluate(
            backbone, pool=load_pool(config, backbone.space), normalization=NORMALIZATION)
        assert [(one.name, one.scores) for one in found.networks] == [
            (one.name, one.scores) for one in expected.networks]
    logs = [path.read_text() for path in tmp_path.glob('*/vis_data/scalars.json')]
    scalars = [json.loads(line) for log in logs for line in log.splitlines()]
    logged = [line for line in scalars if 'routing/task/best' in line]
    assert [line['step'] for line in logged] == epochs
    assert logged[-1]['routing/task/best'] == pytest.approx(found.best.score)


def test_routing_during_training_changes_nothing_that_is_trained(root, tmp_path):
    states = []
    for name, interval in (('every', 1), ('last', 0)):
        hook = dict(type='RoutingHook', interval=interval, evaluator=dict(EVALUATOR, task=str(root / 'task')))
        run = runner(root, tmp_path / name, hook, f'unchanged {name}')
        run.train()
        states.append(dict(run.model.state_dict(), generator=torch.get_rng_state()))
        assert run.model.training
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_model_without_sub_nets_is_refused(root, tmp_path):
    hook = RoutingHook(dict(EVALUATOR, task=str(root / 'task')))

    class Stub:
        model = nn.Linear(2, 2)
        epoch = 1
    with pytest.raises(InputError, match='backbone has sub-nets'):
        hook.after_train(Stub())
    with pytest.raises(InputError, match='number of epochs'):
        HOOKS.build(dict(type='RoutingHook', interval=-1, evaluator=dict(EVALUATOR, task=str(root / 'task'))))
