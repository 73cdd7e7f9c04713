"""Backbones that start from a checkpoint: all of it or an error."""

import pytest
import torch
from mmpretrain.models import ResNet

from sdr_mm.errors import InputError
from sdr_mm.models import SDRResNet, subnet_state_dict
from sdr_mm.registry import MODELS

SMALL = dict(depth=18, stem_channels=8, base_channels=8)
SDR = dict(depth=18, stem_channels=8, base_channels=(6, 2), num_groups=2, routed_blocks=(2, 3))


def start(backbone, file, **options):
    """The backbone that a config makes, of whatever default scope, after ``init_weights``."""
    init_cfg = dict(type='Pretrained', _scope_='sdr_mm', checkpoint=str(file), **options)
    network = MODELS.build(dict(backbone, init_cfg=init_cfg))
    network.init_weights()
    return network


def save(state, file, prefix=''):
    torch.save(dict(state_dict={prefix + name: tensor for name, tensor in state.items()}), file)
    return file


def random_state(network):
    return {name: torch.rand_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.encoder_q.'])
def test_every_weight_is_that_of_the_file_whoever_published_it(tmp_path, prefix):
    state = random_state(ResNet(**SMALL))
    extra = {'module.encoder_k.conv1.weight': torch.zeros(1)} if 'encoder_q' in prefix else {}
    file = save({prefix + name: tensor for name, tensor in state.items()} | extra, tmp_path / 'x.pth')
    # zero_init_residual of the config must not undo a part of it.
    network = start(dict(SMALL, type='mmpretrain.ResNet'), file)
    torch.testing.assert_close(dict(network.state_dict()), state, rtol=0, atol=0)


def test_sdr_network_with_a_path_takes_its_part_of_the_pre_training(tmp_path):
    model = SDRResNet(**SDR)
    model.load_state_dict(random_state(model))
    file = save(model.state_dict(), tmp_path / 'x.pth', 'backbone.')
    network = start(dict(SDR, type='SDRResNet', path=(1, 0)), file)
    torch.testing.assert_close(dict(network.state_dict()), subnet_state_dict(model, (1, 0)), rtol=0, atol=0)


@pytest.mark.parametrize('backbone', [
    dict(SMALL, type='mmpretrain.ResNet', base_channels=10),
    dict(SMALL, type='mmpretrain.ResNet', deep_stem=True),
    dict(SMALL, type='mmpretrain.ResNet', depth=34),
    dict(SDR, type='SDRResNet', base_channels=(5, 2), path=(1, 0)),
])
def test_weights_of_another_layout_are_refused(tmp_path, backbone):
    file = save(ResNet(**SMALL).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(InputError, match='x.pth (lacks|has unexpected|has another shape for) .* of the same layout'):
        start(backbone, file)


def test_super_net_of_another_layout_is_refused(tmp_path):
    file = save(SDRResNet(**{**SDR, 'base_channels': (5, 3)}).state_dict(), tmp_path / 'x.pth', 'backbone.')
    with pytest.raises(InputError, match='has another shape for'):
        start(dict(SDR, type='SDRResNet', path=(1, 0)), file)


def test_missing_file_and_name_that_cannot_be_fetched_are_named(tmp_path):
    with pytest.raises(InputError, match='there is no file .*missing.pth'):
        start(dict(SMALL, type='mmpretrain.ResNet'), tmp_path / 'missing.pth')
    with pytest.raises(InputError, match='torchvision://no_such_network cannot be fetched'):
        start(dict(SMALL, type='mmpretrain.ResNet'), 'torchvision://no_such_network')


def test_with_a_prefix_it_is_mmengines_own(tmp_path):
    state = random_state(ResNet(**SMALL))
    file = save(state, tmp_path / 'x.pth', 'anything.')
    network = start(dict(SMALL, type='mmpretrain.ResNet'), file, prefix='anything.')
    torch.testing.assert_close(dict(network.state_dict()), state, rtol=0, atol=0)
