"""CollapseMonitorHook and SubnetStepHook on a runner-like object with the real parts."""

from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample

from sdr_mm.engine.collapse_monitor_hook import CollapseMonitorHook, network_name
from sdr_mm.engine.subnet_optim_wrapper import SubnetOptimWrapper
from sdr_mm.engine.subnet_step_hook import SubnetStepHook
from sdr_mm.errors import InputError
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.space import SUPERNET


class Recorder:
    """Keeps what a hook says to the visualizer and to the log."""

    def __init__(self):
        self.iter = 0
        self.scalars, self.warnings = [], []
        self.visualizer = SimpleNamespace(add_scalars=lambda values, step: self.scalars.append((step, values)))
        self.logger = SimpleNamespace(warning=self.warnings.append)


def feed(hook, runner, outputs):
    hook.after_train_iter(runner, 0, outputs={name: torch.tensor(float(value)) for name, value in outputs.items()})
    runner.iter += 1


def test_collapse_is_told_from_a_dip_and_named_once():
    hook, runner = CollapseMonitorHook(threshold=0.1, patience=3), Recorder()
    for ratio in (0.9, 0.05, 0.05, 0.9, 0.05, 0.05):
        feed(hook, runner, dict(network=7, loss_ssl=-1, std_ratio=ratio))
        feed(hook, runner, dict(network=8, loss_ssl=-1, std_ratio=0.8))
    assert not runner.warnings
    for _ in range(5):
        feed(hook, runner, dict(network=7, loss_ssl=-1, std_ratio=0.05))
    assert len(runner.warnings) == 1 and 'subnet_007 has collapsed' in runner.warnings[0]


@pytest.mark.parametrize('ratio', [0.0, float('nan')])
def test_collapse_stops_the_run_if_told_to(ratio):
    hook, runner = CollapseMonitorHook(patience=2, action='stop'), Recorder()
    feed(hook, runner, dict(network=SUPERNET, loss_ssl=-1, std_ratio=ratio))
    with pytest.raises(InputError, match='supernet has collapsed'):
        feed(hook, runner, dict(network=SUPERNET, loss_ssl=-1, std_ratio=ratio))


def test_each_network_is_logged_under_its_name_at_most_once_per_interval():
    hook, runner = CollapseMonitorHook(interval=4), Recorder()
    for network in (3, SUPERNET, 3, SUPERNET, 3, 3):
        feed(hook, runner, dict(network=network, loss=-2, loss_ssl=-1, loss_kd=-1, std_ratio=1))
    assert [(step, min(values)) for step, values in runner.scalars] == [
        (1, 'networks/subnet_003/loss_kd'), (2, 'networks/supernet/loss_kd'), (5, 'networks/subnet_003/loss_kd')
    ]
    assert set(runner.scalars[0][1]) == {f'networks/subnet_003/{key}' for key in ('loss_ssl', 'loss_kd', 'std_ratio')}


def test_joint_iteration_logs_and_watches_both_networks():
    hook, runner = CollapseMonitorHook(patience=1), Recorder()
    feed(hook, runner, dict(network=5, loss_ssl=-1, std_ratio=0.9, loss_ssl_supernet=-0.5, std_ratio_supernet=0.01))
    assert 'supernet has collapsed' in runner.warnings[0]
    assert {'networks/supernet/loss_ssl': -0.5}.items() <= runner.scalars[1][1].items()


def test_names_sort_and_the_action_is_checked():
    assert [network_name(network) for network in (SUPERNET, 7, 255)] == ['supernet', 'subnet_007', 'subnet_255']
    with pytest.raises(InputError, match='warn'):
        CollapseMonitorHook(action='explode')


def batch(*networks):
    return dict(data_samples=[DataSample(metainfo=dict(network=network)) for network in networks])


@pytest.mark.parametrize('networks, confined', [((4, 4), True), ((SUPERNET, SUPERNET), False), ((SUPERNET, 4), False)])
def test_step_is_confined_to_the_network_of_the_batch(networks, confined):
    model = torch.nn.Module()
    model.backbone = SDRResNet(18, (5, 3), stem_channels=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    runner = SimpleNamespace(model=model, optim_wrapper=SubnetOptimWrapper(optimizer))
    before = model.backbone.layer4[1].conv2.weight.detach().clone()
    SubnetStepHook().before_train_iter(runner, 0, batch(*networks))
    runner.optim_wrapper.update_params(model.backbone(torch.randn(2, 3, 32, 32))[0].sum())
    moved = (model.backbone.layer4[1].conv2.weight != before).float().mean()
    # Sub-net 4 is the path (0, 0, 1, 0): shared 40 and individual 24 of 136 channels, on both sides.
    assert moved == pytest.approx((64 / 136)**2 if confined else 1, abs=0.01)


def test_wrapper_that_cannot_confine_is_refused():
    runner = SimpleNamespace(optim_wrapper=object())
    with pytest.raises(InputError, match='SubnetOptimWrapper'):
        SubnetStepHook().before_train(runner)
