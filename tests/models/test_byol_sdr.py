"""BYOLSDR: its average by hand, targets against plain networks, MMPretrain's BYOL, and where gradients stop."""

import math

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.models import BYOL, NonLinearNeck
from mmpretrain.structures import DataSample

from sdr_mm.models import BYOLSDR, SDRNonLinearNeck, SimSiamSDR
from sdr_mm.models.backbone import build_plain
from sdr_mm.models.sliced import iter_slices, subnet_state_dict, take
from sdr_mm.space import SUPERNET

NECK = dict(hid_channels=32, out_channels=24, num_layers=2, with_bias=True, with_last_bn=False)
PREDICTOR = dict(in_channels=24, hid_channels=16, out_channels=24, num_layers=2, with_bias=True, with_last_bn=False,
                 with_avg_pool=False)
LOSS = dict(type='CosineSimilarityLoss')
MAX_ITERS = 7


@pytest.fixture(autouse=True)
def _length_of_the_training():
    MessageHub.get_current_instance().update_info('max_iters', MAX_ITERS)


def algorithm(kind=BYOLSDR, **options):
    # With 16 channels before the first block the super-net is a plain network too, as each sub-net is.
    torch.manual_seed(0)
    norm = dict(type='BN')
    return kind(
        dict(type='SDRResNet', depth=18, base_channels=(5, 3), num_groups=2, stem_channels=16),
        dict(type='SDRNonLinearNeck', norm_cfg=norm, **NECK),
        dict(type='LatentPredictHead', loss=LOSS,
             predictor=dict(type='sdr_mm.SDRNonLinearNeck', norm_cfg=norm, **PREDICTOR)), **options).train()


def byol_of(model, network, momentum):
    """MMPretrain's BYOL with the weights and targets of a network of ``model``."""
    config = model.backbone.supernet_config() if network == SUPERNET else model.backbone.subnet_config()
    channels = model.backbone.out_layout.total if network == SUPERNET else 64
    norm = dict(type='BN1d')
    reference = BYOL(
        {**config, 'norm_cfg': dict(type='BN')},
        dict(type='NonLinearNeck', in_channels=channels, norm_cfg=norm, **NECK),
        dict(type='LatentPredictHead', loss=LOSS, predictor=dict(type='NonLinearNeck', norm_cfg=norm, **PREDICTOR)),
        base_momentum=momentum)
    reference.load_state_dict(subnet_state_dict(model, model.path(network)))
    reference.train()
    return reference


def views(count=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 3, 32, 32, generator=generator) for _ in range(2)]


def samples(*networks):
    return [DataSample(metainfo=dict(network=network)) for network in networks]


def shaken(model, size=0.3):
    """The model with online weights that are no longer those of the target."""
    for name, parameter in model.named_parameters():
        if not name.startswith('target_net'):
            parameter.data.add_(size * parameter.std() * torch.randn_like(parameter)
                                if parameter.dim() > 1 else size * torch.randn_like(parameter))
    return model


def test_target_is_the_average_of_the_weights_by_hand():
    model = algorithm(base_momentum=0.3)
    name, expected = 'layer3.0.conv1.weight', None
    for step in range(5):
        online = dict(model.backbone.named_parameters())[name].detach().double().numpy()
        if expected is None:
            expected = online.copy()  # The first update copies.
        else:
            momentum = 0.3 * (math.cos(math.pi * step / MAX_ITERS) + 1) / 2
            expected = (1 - momentum) * expected + momentum * online
        model.loss(views(), samples(*[3, 0, SUPERNET, 5, 1][step:step + 1] * 6))
        found = dict(model.target_net.module[0].named_parameters())[name]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
        shaken(model)
    assert model.target_net.steps == 5


def test_an_iteration_of_two_networks_is_one_update():
    model = algorithm()
    losses = model.loss(views(8), samples(*[SUPERNET] * 4, *[6] * 4))
    assert model.target_net.steps == 1
    assert set(losses) == {'loss_ssl', 'loss_kd', 'loss_ssl_supernet', 'network'} and losses['network'] == 6


@pytest.mark.parametrize('network', [SUPERNET, 0, 9])
def test_target_of_a_network_is_a_plain_one_with_its_path_of_the_averaged_weights(network):
    model = algorithm()
    model.loss(views(), samples(*[4] * 6))
    shaken(model)
    state = subnet_state_dict(model, model.path(network))
    backbone = build_plain({**(model.backbone.supernet_config() if network == SUPERNET else
                               model.backbone.subnet_config()), 'norm_cfg': dict(type='BN')})
    neck = NonLinearNeck(model.backbone.out_layout.total if network == SUPERNET else 64, norm_cfg=dict(type='BN1d'),
                         **NECK)
    for number, part in enumerate((backbone, neck)):
        part.train()
        prefix = f'target_net.module.{number}.'
        part.load_state_dict({key.removeprefix(prefix): value for key, value in state.items()
                              if key.startswith(prefix)})
    image = views()[0]
    expected = neck(backbone(image))[0]
    torch.testing.assert_close(model.target(image, model.path(network)), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.project(image, model.path(network)), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize('network', [SUPERNET, 2, 9])
def test_a_network_alone_is_mmpretrains_byol(network):
    """Loss and, after three steps of both, weights and targets."""
    model = algorithm(distillation=None, base_momentum=0.2)
    model.loss(views(), samples(*[network] * 6))
    shaken(model)
    reference = byol_of(model, network, 0.2)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.05) for part in (model, reference)]
    for step in range(3):
        images = views(seed=step)
        losses = [model.loss(images, samples(*[network] * 6))['loss_ssl'], reference.loss(images, None)['loss']]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
        for loss, optimizer in zip(losses, optimizers):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = subnet_state_dict(model, model.path(network))
    parameters = {name for name, _ in reference.named_parameters()}
    for name, value in reference.state_dict().items():
        if name in parameters or name.endswith('steps'):
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_subnet_is_drawn_to_the_target_of_the_supernet_as_to_its_own():
    model = algorithm()
    images = views()
    model.loss(images, samples(*[5] * 6))
    shaken(model)
    losses = model.network_loss(images, 5)
    path = model.path(5)

    def distance(prediction, target):
        """2 - 2 cos, in NumPy."""
        prediction, target = (part.detach().double().numpy() for part in (prediction, target))
        cosine = (prediction * target).sum(1) / np.linalg.norm(prediction, axis=1) / np.linalg.norm(target, axis=1)
        return (2 - 2 * cosine).mean()

    predictions = [model.predict(model.project(view, path), path) for view in images]
    for name, teacher in (('loss_ssl', path), ('loss_kd', None)):
        targets = [model.target(view, teacher) for view in images]
        expected = distance(predictions[0], targets[1]) + distance(predictions[1], targets[0])
        assert losses[name].item() + 4 == pytest.approx(expected, rel=1e-5)


def test_gradients_stop_at_the_targets_and_at_the_border_of_the_subnet():
    model = algorithm()
    sum(value for name, value in model.loss(views(), samples(*[5] * 6)).items() if 'loss' in name).backward()
    slices = dict(iter_slices(model, model.path(5)))
    for name, parameter in model.named_parameters():
        if name.startswith('target_net'):
            assert parameter.grad is None and not parameter.requires_grad, name
            continue
        outside = torch.ones_like(parameter, dtype=torch.bool)
        outside_of = take(outside, slices.get(name, ()))
        assert outside_of.any()
        total, inside = parameter.grad.abs().sum(), take(parameter.grad, slices.get(name, ())).abs().sum()
        torch.testing.assert_close(total, inside, msg=name)
        assert inside > 0, name


@pytest.mark.parametrize('kind', [SimSiamSDR, BYOLSDR])
def test_a_teacher_that_runs_first_under_autocast_cuts_no_gradient_of_the_student(kind):
    """Autocast keeps the weights that it has cast, and those of a teacher without gradient have none.

    Newer versions of torch mind that, so a teacher is watched too: it projects in bfloat16, and nothing is kept of
    weights that the student trains.
    """
    seen = []

    def look(module, inputs, output):
        if not torch.is_grad_enabled():
            keeps = torch.is_autocast_cache_enabled() and any(part.requires_grad for part in module.parameters())
            seen.append((output[0].dtype, keeps))

    gradients = []
    for first in (False, True):
        model = algorithm(kind, distillation=None)
        for part in model.modules():
            if isinstance(part, SDRNonLinearNeck):
                part.register_forward_hook(look)
        with torch.autocast('cpu', torch.bfloat16):
            if first:
                model.teach(views())
                assert torch.is_autocast_cache_enabled()
            loss = model.loss(views(), samples(*[5] * 6))['loss_ssl']
        loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert set(seen) == {(torch.bfloat16, False)}
    for name, gradient in gradients[0].items():
        assert (gradient is None) == (gradients[1][name] is None), name
        if gradient is not None:
            assert torch.equal(gradient, gradients[1][name]), name
