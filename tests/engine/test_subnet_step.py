"""What one optimizer step moves."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.engine.optimizers import LARS
from torch import nn

from sdr_mm.engine.subnet_optim_wrapper import AmpSubnetOptimWrapper, SubnetOptimWrapper, selection_of
from sdr_mm.errors import InputError
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.models.sliced import iter_slices, put, subnet_state_dict, take
from sdr_mm.registry import MODELS, OPTIM_WRAPPERS

OPTIMIZERS = {
    'SGD': lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    'SGD foreach': lambda parameters: torch.optim.SGD(
        parameters, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=True),
    'LARS': lambda parameters: LARS(parameters, lr=0.5, momentum=0.9, weight_decay=0.01),
    'Adam': lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1),
    'AdamW': lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}
PATHS = [(0, 3, 1, 2), (1, 3, 0, 0), (0, 3, 1, 2)]


def network():
    return SDRResNet(18, (5, 3), stem_channels=8)


def step(wrapper, model, path, image):
    if path is not None:
        wrapper.confine(selection_of(model, path))
    wrapper.update_params(model(image, path)[0].square().mean())


@pytest.mark.parametrize('optimizer', OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_step_of_a_subnet_moves_the_subnet_and_nothing_else(optimizer):
    model = network().train()
    wrapper = SubnetOptimWrapper(optimizer(model.parameters()))
    image = torch.randn(4, 3, 32, 32)
    step(wrapper, model, None, image)  # gives every parameter momentum, which must not carry over
    before = copy.deepcopy(model)
    state = {name: copy.deepcopy(wrapper.optimizer.state[parameter]) for name, parameter in model.named_parameters()}
    step(wrapper, model, PATHS[0], image)
    slices = dict(iter_slices(model, PATHS[0]))
    for (name, new), old in zip(model.named_parameters(), before.parameters()):
        pairs = [(new.detach(), old.detach())]
        pairs += [(value, state[name][key]) for key, value in wrapper.optimizer.state[new].items()
                  if isinstance(value, torch.Tensor) and value.shape == new.shape]
        for a, b in pairs:
            inside = torch.zeros_like(a)
            put(inside, slices.get(name, ()), torch.ones_like(take(inside, slices.get(name, ()))))
            assert torch.equal(a[inside == 0], b[inside == 0]), f'{name} moved outside the sub-net'
        moved = (new != old)[inside == 1].float().mean()
        assert moved > 0.9, f'{name} did not move inside the sub-net'


@pytest.mark.parametrize('name, clip', [*((name, None) for name in OPTIMIZERS), ('SGD', 1e-3), ('LARS', 1e-3)])
def test_steps_of_one_subnet_are_those_of_the_stock_resnet_alone(name, clip):
    """Three steps, weight decay and momentum included, from a fresh optimizer."""
    optimizer, clip_grad = OPTIMIZERS[name], clip and dict(max_norm=clip)
    model = network().double().train()
    path = PATHS[0]
    alone = MODELS.build(model.subnet_config()).double()
    alone.load_state_dict(subnet_state_dict(model, path))
    alone.train()
    wrapper = SubnetOptimWrapper(optimizer(model.parameters()), clip_grad=clip_grad)
    reference = OptimWrapper(optimizer(alone.parameters()), clip_grad=clip_grad)
    for seed in range(3):
        image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        step(wrapper, model, path, image)
        reference.update_params(alone(image)[0].square().mean())
    state = subnet_state_dict(model, path)
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('name', ['SGD', 'LARS'])
def test_steps_in_place_are_those_on_copies(monkeypatch, name):
    """To the last bit where each element steps alone; the norm of a layer is added up in another order."""
    results = []
    for in_place in (True, False):
        if not in_place:
            monkeypatch.setattr('sdr_mm.engine.subnet_optim_wrapper._works_on_views', lambda optimizer: False)
        torch.manual_seed(0)
        model = network().double().train()
        # Norms and biases of the recipe for BYOL have no rate of their layer.
        norms, others = ([parameter for parameter in model.parameters() if (parameter.dim() == 1) == norm]
                         for norm in (True, False))
        wrapper = SubnetOptimWrapper(OPTIMIZERS[name]([dict(params=norms, lars_exclude=True), dict(params=others)]))
        for path in [*PATHS, None, (0, 0, 0, 0)]:
            step(wrapper, model, path, torch.randn(4, 3, 32, 32, dtype=torch.double))
        results.append([*model.state_dict().values(),
                        *(wrapper.optimizer.state[parameter]['momentum_buffer'] for parameter in model.parameters())])
    tolerance = dict(rtol=0, atol=0) if name == 'SGD' else dict(rtol=1e-7, atol=1e-9)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_frozen_stages_stay_and_the_others_step():
    model = SDRResNet(18, (5, 3), stem_channels=8, routed_blocks=(2, 3), frozen_stages=3).train()
    wrapper = SubnetOptimWrapper(OPTIMIZERS['SGD'](model.parameters()))
    before = copy.deepcopy(model)
    chosen = selection_of(model, (0, 1))
    assert chosen[model.layer3[0].conv1.weight] and not model.layer3[0].conv1.weight.requires_grad
    wrapper.confine(chosen)
    wrapper.update_params(model(torch.randn(4, 3, 32, 32), (0, 1))[0].square().mean())
    for (name, new), old in zip(model.named_parameters(), before.parameters()):
        assert torch.equal(new, old) != name.startswith('layer4'), name


class Exact(torch.optim.Optimizer):
    """Adds up gradients in double precision, and takes what MMEngine hands on to a step."""

    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None, scale=1):
        for parameter in self.param_groups[0]['params']:
            state = self.state[parameter]
            state['total'] = state.get('total', torch.zeros_like(parameter, dtype=torch.double)) + parameter.grad
            parameter -= scale * state['total'].float()


def test_optimizers_state_keeps_its_precision_and_options_of_a_step_arrive():
    weight = nn.Parameter(torch.zeros(4))
    wrapper = SubnetOptimWrapper(Exact([weight]))
    for gradient in (1., 1e-12):
        wrapper.confine({weight: (((1, 3), ), )})
        weight.grad = torch.full((4, ), gradient)
        wrapper.step(scale=2)
    assert wrapper.optimizer.state[weight]['total'].tolist() == [0, 1 + 1e-12, 1 + 1e-12, 0]
    assert weight.tolist() == [0, -4, -4, 0]
    wrapper.step(scale=0)
    assert weight.tolist() == [0, -4, -4, 0], 'nor by a step that is not confined'


def test_step_of_the_supernet_is_a_plain_step():
    model = network().train()
    plain = copy.deepcopy(model)
    image = torch.randn(4, 3, 32, 32)
    step(SubnetOptimWrapper(OPTIMIZERS['SGD'](model.parameters())), model, None, image)
    step(OptimWrapper(OPTIMIZERS['SGD'](plain.parameters())), plain, None, image)
    for a, b in zip(model.parameters(), plain.parameters()):
        assert torch.equal(a, b)


def test_confinement_holds_for_one_step_and_leaves_the_optimizer_as_it_was():
    model = network().train()
    wrapper = SubnetOptimWrapper(OPTIMIZERS['SGD'](model.parameters()))
    image = torch.randn(4, 3, 32, 32)
    step(wrapper, model, PATHS[0], image)
    parameters = list(model.parameters())
    assert [id(p) for p in wrapper.optimizer.param_groups[0]['params']] == [id(p) for p in parameters]
    assert set(wrapper.optimizer.state) == set(parameters)
    wrapper.optimizer.load_state_dict(copy.deepcopy(wrapper.optimizer.state_dict()))
    before = model.layer4[1].conv2.weight.detach().clone()
    step(wrapper, model, None, image)
    assert (model.layer4[1].conv2.weight != before).float().mean() > 0.9


def test_a_step_that_fails_leaves_the_optimizer_as_it_was():
    model = network().train()
    wrapper = SubnetOptimWrapper(OPTIMIZERS['SGD'](model.parameters()))
    handle = wrapper.optimizer.register_step_pre_hook(lambda *_: 1 / 0)
    image = torch.randn(4, 3, 32, 32)
    with pytest.raises(ZeroDivisionError):
        step(wrapper, model, PATHS[0], image)
    parameters = list(model.parameters())
    assert [id(p) for p in wrapper.optimizer.param_groups[0]['params']] == [id(p) for p in parameters]
    assert set(wrapper.optimizer.state) <= set(parameters)
    handle.remove()
    before = model.layer4[1].conv2.weight.detach().clone()
    step(wrapper, model, None, image)
    assert (model.layer4[1].conv2.weight != before).float().mean() > 0.9, 'and the next step is not confined'


def test_gradient_clipping_sees_the_subnet_only():
    model = network().train()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = SubnetOptimWrapper(plain, clip_grad=dict(max_norm=1e-3))
    before = copy.deepcopy(model)
    model.layer1[0].conv1.weight.register_hook(outside_of(model, PATHS[1]))
    step(wrapper, model, PATHS[1], torch.randn(4, 3, 32, 32))
    moved = torch.stack([(a - b).norm() for a, b in zip(model.parameters(), before.parameters())]).norm()
    torch.testing.assert_close(moved, torch.tensor(0.1 * 1e-3), rtol=1e-3, atol=0)


def outside_of(model, path):
    """Makes the gradient of one weight huge where the sub-net has no part of it."""
    slices = dict(iter_slices(model, path))['layer1.0.conv1.weight']

    def hook(grad):
        huge = torch.full_like(grad, 1e6)
        put(huge, slices, take(grad, slices))
        return huge

    return hook


@pytest.mark.parametrize('name', ['SGD', 'LARS'])
def test_amp_wrapper_confines_its_steps_and_scales_its_losses(monkeypatch, name):
    """With a real scaler, which torch has for CPUs too; only MMEngine's wrapper asks for a GPU."""
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    model = network().train()
    plain = copy.deepcopy(model)
    wrapper = AmpSubnetOptimWrapper(optimizer=OPTIMIZERS[name](model.parameters()))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.**10)
    reference = SubnetOptimWrapper(OPTIMIZERS[name](plain.parameters()))
    for path in (None, PATHS[0]):  # The first gives every parameter momentum.
        image = torch.randn(4, 3, 32, 32)
        step(wrapper, model, path, image)
        step(reference, plain, path, image)
    for (name, a), b in zip(model.named_parameters(), plain.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_networks_in_turn_step_as_each_would_alone_up_to_adams_count(name):
    """Five steps of one half of a parameter, then the first of the other half."""
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(8, 3, generator=generator), torch.randn(6, 4, 3, generator=generator)
    weight = nn.Parameter(start.clone())
    wrapper = SubnetOptimWrapper(OPTIMIZERS[name]([weight]))
    halves = [slice(4), slice(4, 8)]
    alone = [nn.Parameter(start[half].clone()) for half in halves]
    optimizers = [OPTIMIZERS[name]([part]) for part in alone]
    for number, gradient in enumerate(gradients):
        which = number // 5
        weight.grad = torch.zeros(8, 3)
        weight.grad[halves[which]] = gradient
        wrapper.confine({weight: (((4 * which, 4 * which + 4), ), )})
        wrapper.step()
        alone[which].grad = gradient.clone()
        optimizers[which].step()
    torch.testing.assert_close(weight.detach()[:4], alone[0].detach(), rtol=1e-6, atol=1e-7)
    if not name.startswith('Adam'):
        torch.testing.assert_close(weight.detach()[4:], alone[1].detach(), rtol=1e-6, atol=1e-7)
        return
    decayed = start[4:] * (1 - 0.01 * 0.1) if name == 'AdamW' else start[4:]
    gradient = gradients[5] if name == 'AdamW' else gradients[5] + 0.1 * start[4:]
    mean, square = 0.1 * gradient / (1 - 0.9**6), 0.001 * gradient**2 / (1 - 0.999**6)  # As if it were its sixth.
    expected = decayed - 0.01 * mean / (square.sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach()[4:], expected, rtol=1e-5, atol=1e-6)


def test_accumulation_is_refused():
    with pytest.raises(InputError, match='accumulative_counts'):
        SubnetOptimWrapper(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1), accumulative_counts=2)


def test_wrappers_are_registered():
    for name in ('SubnetOptimWrapper', 'AmpSubnetOptimWrapper'):
        assert OPTIM_WRAPPERS.get(name) is OPTIM_WRAPPERS.get(f'sdr_mm.{name}')
