"""A super-net whose every sub-net is a network that was trained already."""

import numpy as np
import pytest
import torch
import torchvision
from mmpretrain.models import SimSiam
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.models import SDRResNet, SimSiamSDR, subnet_state_dict, warm_start
from sdr_mm.models.backbone import build_plain
from sdr_mm.models.sliced import ChannelLayout, SlicedConv2d, grow_state_dict

PREDICTOR = dict(hid_channels=16, out_channels=32, with_avg_pool=False, with_last_bn=False, with_last_bias=True)


def randomize(network):
    """Weights and statistics that differ from channel to channel."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if 'running_var' in name:
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(0, 0.2, generator=generator)
    return network.eval()


@pytest.mark.parametrize('depth, layout', [
    (18, dict(base_channels=(48, 16))),
    (18, dict(base_channels=(56, 8), num_groups=3, routed_blocks=(2, 3))),
    pytest.param(50, {}, marks=pytest.mark.slow),
])
def test_every_subnet_of_a_warm_start_is_torchvisions_network(depth, layout, tmp_path):
    source = randomize(getattr(torchvision.models, f'resnet{depth}')())
    torch.save(source.state_dict(), tmp_path / 'torchvision.pth')
    backbone = SDRResNet(depth=depth, **layout, init_cfg=dict(
        type='Pretrained', _scope_='sdr_mm', checkpoint=str(tmp_path / 'torchvision.pth')))
    backbone.init_weights()
    backbone.eval()
    images = torch.randn(2, 3, 64, 64)
    expected = source.state_dict()
    source.fc = torch.nn.Identity()
    random = np.random.default_rng(0)
    for path in backbone.space.paths if len(backbone.space) < 10 else random.permutation(backbone.space.paths)[:5]:
        path = tuple(map(int, path))
        state = subnet_state_dict(backbone, path)
        assert all(torch.equal(value, expected[key]) for key, value in state.items())
        plain = build_plain(backbone.subnet_config())
        plain.load_state_dict(state)
        with torch.no_grad():
            wanted = source(images)
            assert torch.equal(plain(images)[0].mean((2, 3)), wanted)
            torch.testing.assert_close(backbone(images, path)[0].mean((2, 3)), wanted)


def test_what_leads_from_one_group_to_another_of_the_same_block_is_zero():
    routed = ChannelLayout(2, 1, 3, block=0)
    inside = SlicedConv2d(routed, routed, 1)
    weight = torch.arange(1., 10.).view(3, 3, 1, 1)
    s, i = [0, 1], 2  # shared channels and the individual one
    expected = torch.zeros(5, 5)
    expected[:2, :2] = weight[s][:, s, 0, 0]
    for group in (2, 3, 4):
        expected[:2, group], expected[group, :2] = weight[s, i, 0, 0], weight[i, s, 0, 0]
        expected[group, group] = weight[i, i, 0, 0]
    assert torch.equal(grow_state_dict(inside, {'weight': weight})['weight'][..., 0, 0], expected)
    # Between two blocks every pair of groups is on some path.
    between = SlicedConv2d(routed, ChannelLayout(2, 1, 3, block=1), 1)
    assert (grow_state_dict(between, {'weight': weight})['weight'] > 0).all()


def pair():
    torch.manual_seed(0)
    backbone = SDRResNet(depth=18, base_channels=(5, 3), num_groups=2, stem_channels=8)
    neck = dict(hid_channels=32, out_channels=32, num_layers=2, with_last_bn_affine=False)
    head = dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'))
    baseline = SimSiam(
        backbone.subnet_config(), dict(type='NonLinearNeck', in_channels=64, norm_cfg=dict(type='BN1d'), **neck),
        dict(head, predictor=dict(type='NonLinearNeck', in_channels=32, norm_cfg=dict(type='BN1d'), **PREDICTOR)))
    sdr = SimSiamSDR(
        backbone, dict(type='SDRNonLinearNeck', norm_cfg=dict(type='BN'), **neck),
        dict(head, predictor=dict(type='sdr_mm.SDRNonLinearNeck', in_channels=32, norm_cfg=dict(type='BN'),
                                  **PREDICTOR)))
    return randomize(baseline), sdr


def test_projector_and_predictor_of_the_baseline_start_alike():
    baseline, sdr = pair()
    assert warm_start(sdr, baseline.state_dict()) == ['backbone', 'neck', 'head']
    sdr.eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = baseline.neck(baseline.backbone(images))[0]
        for network in (0, 6, 15):
            path = sdr.path(network)
            torch.testing.assert_close(sdr.project(images, path), expected)
            torch.testing.assert_close(sdr.predict(expected, path), baseline.head.predictor((expected, ))[0])


def test_a_projector_of_another_size_and_a_backbone_alone_leave_the_projector_as_it_is():
    baseline, sdr = pair()
    before = sdr.neck.fc1.weight.clone()
    state = {key: value for key, value in baseline.state_dict().items() if key != 'neck.fc1.weight'}
    assert warm_start(sdr, state) == ['backbone', 'head']
    assert torch.equal(sdr.neck.fc1.weight, before)
    assert warm_start(sdr, baseline.backbone.state_dict()) == ['backbone']


def test_a_model_without_neck_or_head_takes_the_backbone_alone():
    model = nn.Module()
    model.backbone, model.neck, model.head = pair()[1].backbone, None, nn.Identity()
    assert warm_start(model, pair()[0].state_dict()) == ['backbone']


def test_a_network_of_another_width_is_refused():
    _, sdr = pair()
    wide = SDRResNet(depth=18, base_channels=(6, 3), num_groups=2, stem_channels=8)
    with pytest.raises(InputError, match='weights of this SDRResNet: .*give a checkpoint of the same layout'):
        warm_start(sdr, build_plain(wide.subnet_config()).state_dict())


def test_a_supernets_own_checkpoint_is_loaded_as_it_is():
    _, sdr = pair()
    state = {key: value.clone() for key, value in randomize(sdr).state_dict().items()}
    _, other = pair()
    assert warm_start(other, state) == ['backbone', 'neck', 'head']
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
