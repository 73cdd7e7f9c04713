"""SubnetStepHook on a runner-like object with the real parts."""

from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample

from sdr_mm.engine.subnet_optim_wrapper import SubnetOptimWrapper
from sdr_mm.engine.subnet_step_hook import SubnetStepHook
from sdr_mm.errors import InputError
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.space import SUPERNET


def batch(*networks):
    return dict(data_samples=[DataSample(metainfo=dict(network=network)) for network in networks])


@pytest.mark.parametrize('networks, confined', [((4, 4), True), ((SUPERNET, SUPERNET), False), ((SUPERNET, 4), False)])
def test_step_is_confined_to_the_network_of_the_batch(networks, confined):
    model = torch.nn.Module()
    model.backbone = SDRResNet(18, (5, 3), stem_channels=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    runner = SimpleNamespace(model=model, optim_wrapper=SubnetOptimWrapper(optimizer))
    before = model.backbone.layer4[1].conv2.weight.detach().clone()
    hook = SubnetStepHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch(*networks))
    runner.optim_wrapper.update_params(model.backbone(torch.randn(2, 3, 32, 32))[0].sum())
    moved = (model.backbone.layer4[1].conv2.weight != before).float().mean()
    # Sub-net 4 is the path (0, 0, 1, 0): shared 40 and individual 24 of 136 channels, on both sides.
    assert moved == pytest.approx((64 / 136)**2 if confined else 1, abs=0.01)


def test_wrapper_that_cannot_confine_is_refused():
    runner = SimpleNamespace(optim_wrapper=object())
    with pytest.raises(InputError, match='SubnetOptimWrapper'):
        SubnetStepHook().before_train(runner)
