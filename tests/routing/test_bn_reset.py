"""BN reset gives the statistics of the population."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import ResNet
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.models import SDRResNet
from sdr_mm.routing import BNReset, reset_bn
from sdr_mm.routing.bn_reset import NormMeter, _Population


def resnet():
    torch.manual_seed(1)
    network = ResNet(depth=18, base_channels=4, stem_channels=4)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape) * 0.3).abs_()
    return network


def batches(*sizes):
    torch.manual_seed(2)
    # Each batch has another level, so that the variance between batches is not small.
    return [torch.randn(size, 3, 40, 40) + 2 * i for i, size in enumerate(sizes)]


def test_first_layer_has_the_mean_and_variance_over_all_images():
    network, parts = resnet(), batches(5, 1, 3)
    assert reset_bn(network, parts) == 9
    with torch.no_grad():
        values = network.conv1(torch.cat(parts)).double().numpy().transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_allclose(network.bn1.running_mean, values.mean(1), rtol=1e-5)
    np.testing.assert_allclose(network.bn1.running_var, np.var(values, axis=1), rtol=1e-5)


def test_every_layer_has_the_statistics_of_what_it_saw():
    network, parts = resnet(), batches(4, 3, 2)
    inputs = {}
    reference = copy.deepcopy(network)
    reference.train()
    for name, layer in reference.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _, x, out, name=name: inputs.setdefault(name, []).append(x[0].clone()))
    with torch.no_grad():
        for part in parts:
            reference(part)
    reset_bn(network, parts)
    assert len(inputs) == 20
    for name, seen in inputs.items():
        seen = np.concatenate([x.double().numpy().transpose(1, 0, 2, 3).reshape(x.shape[1], -1) for x in seen], axis=1)
        layer = network.get_submodule(name)
        np.testing.assert_allclose(layer.running_mean, seen.mean(1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.running_var, np.var(seen, axis=1), rtol=1e-4, atol=1e-6)


def test_one_batch_makes_evaluation_equal_training():
    network, (batch, ) = resnet(), batches(8)
    reset_bn(network, [batch])
    with torch.no_grad():
        reference = copy.deepcopy(network)
        reference.train()
        expected = reference(batch)[-1]
        network.eval()
        torch.testing.assert_close(network(batch)[-1], expected, rtol=1e-4, atol=1e-4)


def test_nothing_but_the_statistics_changes():
    network = resnet()
    network.train()
    network.layer2.eval()
    network.bn1.momentum = 0.25
    before = copy.deepcopy(network)
    reset_bn(network, batches(4, 4))
    for (name, module), (_, old) in zip(network.named_modules(), before.named_modules()):
        assert module.training == old.training, name
        assert not module._forward_pre_hooks
    assert network.bn1.momentum == 0.25
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before.state_dict()[k])}
    assert changed == {k for k in network.state_dict() if 'running' in k}


def test_dropout_stays_off():
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3)).train()
    (x, ) = batches(4)
    reset_bn(network, [x])
    torch.testing.assert_close(network[1].running_mean, x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    assert network[0].training


def test_order_and_a_cut_do_not_matter():
    first, second, third = resnet(), resnet(), resnet()
    parts = batches(5, 2, 4)
    reset_bn(first, parts)
    reset_bn(second, parts[::-1])
    assert reset_bn(third, iter([*parts, torch.full((7, 3, 40, 40), 99.)]), num_images=11) == 11
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(third.state_dict()[name], value), name


def test_a_cut_inside_a_batch_takes_its_first_images_and_reads_no_further():
    def images():
        yield from batches(4, 4)
        raise AssertionError('read on')

    expected, cut = resnet(), resnet()
    first, second = batches(4, 4)
    reset_bn(expected, [first, second[:2]])
    assert reset_bn(cut, images(), num_images=6) == 6
    for name, value in expected.state_dict().items():
        assert torch.equal(cut.state_dict()[name], value), name


def test_an_empty_batch_counts_for_nothing():
    first, second = resnet(), resnet()
    parts = batches(3, 2)
    assert reset_bn(first, parts) == reset_bn(second, [parts[0], torch.empty(0, 3, 40, 40), parts[1]]) == 5
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_many_batches_far_from_zero_are_added_up_in_float64():
    network = nn.Sequential(nn.BatchNorm2d(2))
    random = np.random.default_rng(0)
    values = (1e4 + random.standard_normal((500, 4, 2, 3, 3))).astype(np.float32)
    meter = NormMeter(network)
    for batch in values:
        meter.run(network, torch.from_numpy(batch))
    mean, var = meter.statistics()['0']
    exact = values.astype(np.float64).transpose(2, 0, 1, 3, 4).reshape(2, -1)
    assert mean.dtype == var.dtype == torch.float64
    # The mean of a batch, float32, is exact to 5e-4, and these errors average out.
    np.testing.assert_allclose(mean, exact.mean(1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(var, exact.var(1), rtol=1e-4)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_activations_in_half_precision_are_measured_in_float32(dtype):
    values = (100 + torch.randn(64, 1, 8, 8)).to(dtype)
    population = _Population(1, torch.device('cpu'))
    population.update(values)
    exact = values.double().numpy()
    np.testing.assert_allclose(population.mean, exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(population.var, exact.var(), rtol=1e-4)


def test_defaults_and_limits_of_a_reset_are_those_documented():
    assert BNReset() == BNReset('cluster', 2000, 200, 0)
    assert BNReset(num_images=2, batch_size=2).num_images == 2
    for options in (dict(num_images=1), dict(batch_size=1), dict(mode='batch')):
        with pytest.raises(InputError, match='BN reset'):
            BNReset(**options)


def test_the_super_net_of_an_sdrnet_is_measured_as_it_is():
    backbone = SDRResNet(depth=18, base_channels=(6, 2), num_groups=2, routed_blocks=(2, 3), stem_channels=8,
                         norm_cfg=dict(type='SyncBN'))
    parts = batches(3, 4)
    reset_bn(backbone, parts)
    with torch.no_grad():
        values = backbone.conv1(torch.cat(parts))
    torch.testing.assert_close(backbone.bn1.running_var, values.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)
    assert backbone.bn1.sync and backbone.bn1.num_batches_tracked == 0


class _Twice(nn.Module):

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.norm(x))


class _Never(_Twice):

    def forward(self, x):
        return x


@pytest.mark.parametrize('network, parts, message', [
    (_Twice(), batches(2), 'BN layer norm is used more than once'),
    (_Never(), batches(2), 'BN layer norm was not reached'),
    (_Twice(), [], 'no images'),
    (nn.Conv2d(3, 3, 1), batches(2), 'no BN layer'),
    (nn.Sequential(nn.BatchNorm2d(3)), [torch.ones(1, 3, 1, 1)], 'one value per channel'),
    (nn.Sequential(nn.BatchNorm2d(3)), [torch.full((2, 3, 4, 4), float('nan'))], 'not finite'),
])
def test_what_cannot_be_measured_is_refused_and_nothing_changes(network, parts, message):
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(InputError, match=message):
        reset_bn(network, parts)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
