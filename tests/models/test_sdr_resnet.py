"""SDRResNet: sizes, sub-nets against stock ResNets, options."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ResNet

from sdr_mm.errors import InputError
from sdr_mm.models.sdr_resnet import SDRResNet
from sdr_mm.models.sliced import SlicedBatchNorm, iter_slices, put, subnet_state_dict, take
from sdr_mm.registry import MODELS

TINY = dict(depth=18, base_channels=(5, 3), stem_channels=8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def randomized(model):
    """Gives every norm statistics and affine parameters that a mistake in slicing would show."""
    for module in model.modules():
        if isinstance(module, SlicedBatchNorm):
            for tensor in (module.running_mean, module.weight, module.bias):
                torch.nn.init.normal_(tensor, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def stock(model, path, training=False):
    # MMPretrain's ResNet.train() returns nothing, so calls on it cannot be chained.
    resnet = MODELS.build(model.subnet_config() if path else model.supernet_config())
    resnet.load_state_dict(subnet_state_dict(model, path), strict=True)
    resnet.train(training)
    return resnet


@pytest.mark.parametrize('layout, supernet, subnet', [
    ((52, 12), 57_314_336, 23_508_032),
    ((51, 12), 56_175_107, 22_780_571),
    ((48, 12), 52_826_048, 20_666_816),
])
def test_resnet50_has_the_parameter_counts_of_the_three_layouts(layout, supernet, subnet):
    model = SDRResNet(50, layout)
    assert count(model) == supernet
    state = subnet_state_dict(model, (0, 3, 1, 2))
    names = {name for name, _ in model.named_parameters()}
    assert sum(tensor.numel() for name, tensor in state.items() if name in names) == subnet


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_default_subnet_is_the_stock_resnet_of_its_depth(depth):
    expected = {name: tensor.shape for name, tensor in ResNet(depth).state_dict().items()}
    state = subnet_state_dict(SDRResNet(depth), (1, 2, 3, 0))
    assert {name: tensor.shape for name, tensor in state.items()} == expected


@pytest.mark.parametrize('config', [
    TINY,
    dict(TINY, stem_channels=6),
    dict(TINY, base_channels=(1, 7)),
    dict(TINY, base_channels=(7, 1)),
    dict(TINY, depth=50),
    dict(TINY, depth=50, style='caffe', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    dict(TINY, routed_blocks=(1, 3)),
    dict(TINY, num_groups=2, out_indices=(0, 1, 2, 3)),
])
def test_subnet_equals_the_stock_resnet_with_its_weights_in_output_and_gradient(config):
    model = randomized(SDRResNet(**config)).eval()
    generator = torch.Generator().manual_seed(3)
    for index in torch.randint(len(model.space), (3, ), generator=generator).tolist():
        path = model.space.path(index)
        resnet = stock(model, path)
        image = torch.randn(2, 3, 48, 48, generator=generator)
        ours, theirs = model(image, path), resnet(image)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        model.zero_grad()
        sum(out.square().sum() for out in ours).backward()
        sum(out.square().sum() for out in theirs).backward()
        slices = dict(iter_slices(model, path))
        expected = dict(resnet.named_parameters())
        for name, parameter in model.named_parameters():
            grad = parameter.grad
            scale = expected[name].grad.abs().max() + 1e-12
            own = take(grad, slices.get(name, ()))
            torch.testing.assert_close(own / scale, expected[name].grad / scale, rtol=1e-4, atol=1e-5)
            put(grad, slices.get(name, ()), torch.zeros_like(own))
            assert not grad.any(), f'{name} has gradient outside the sub-net'


def test_supernet_equals_the_stock_resnet_of_its_width():
    model = randomized(SDRResNet(50, (5, 3), stem_channels=8)).eval()
    image = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(model(image)[0], stock(model, None)(image)[0], rtol=1e-5, atol=1e-5)


def test_path_as_tensor_gives_the_same_and_one_graph_serves_all_subnets():
    model = randomized(SDRResNet(**TINY)).eval()
    image = torch.randn(1, 3, 32, 32)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for path in [(0, 0, 0, 0), (0, 3, 1, 2), (3, 2, 1, 0)]:
        torch.testing.assert_close(compiled(image, torch.tensor(path))[0], model(image, path)[0])
    assert len(graphs) == 1


def test_only_the_supernet_updates_running_statistics():
    model = SDRResNet(**TINY).train()
    image = torch.randn(4, 3, 32, 32)

    def statistics():
        return {name: buffer.clone() for name, buffer in model.named_buffers() if 'running' in name or 'num' in name}

    before = statistics()
    model(image, (0, 3, 1, 2))
    model(image, None, update_stats=False)
    torch.testing.assert_close(statistics(), before, rtol=0, atol=0)
    model(image)
    after = statistics()
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_subnet_in_training_normalizes_with_its_batch():
    model = randomized(SDRResNet(**TINY)).train()
    image = torch.randn(4, 3, 32, 32)
    path = (2, 0, 1, 3)
    torch.testing.assert_close(model(image, path)[0], stock(model, path, training=True)(image)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('stages', [-1, 0, 2])
def test_frozen_stages_neither_learn_nor_update_statistics(stages):
    model = SDRResNet(**TINY, frozen_stages=stages).train()
    frozen = ['conv1', 'bn1', 'layer1', 'layer2'][:stages + 2 if stages >= 0 else 0]
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.split('.')[0] not in frozen)
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if 'running' in name}
    model(torch.randn(4, 3, 32, 32))
    for name, buffer in model.named_buffers():
        if name in before:
            assert torch.equal(buffer, before[name]) == (name.split('.')[0] in frozen)


def test_norm_eval_keeps_running_statistics_in_training():
    model = randomized(SDRResNet(**TINY, norm_eval=True))
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.train()(image, (0, 1, 2, 3))[0], model.eval()(image, (0, 1, 2, 3))[0])


@pytest.mark.parametrize('built_for', [None, (0, 3, 1, 2)])
@pytest.mark.parametrize('path', [None, (0, 3, 1, 2)])
@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('depth', [18, 50])
def test_with_cp_gives_the_same_output_gradients_and_statistics(depth, half, path, built_for):
    options = dict(TINY, depth=depth, path=built_for)
    model = randomized(SDRResNet(**options)).train()
    checkpointed = SDRResNet(**options, with_cp=True).train()
    checkpointed.load_state_dict(model.state_dict())
    before = copy.deepcopy(model.state_dict())
    image = torch.randn(4, 3, 32, 32)
    for network in (model, checkpointed):
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            out = network(image, path)[0]
        out.float().sum().backward()
    for (name, a), b in zip(model.named_parameters(), checkpointed.parameters()):
        assert torch.equal(a.grad, b.grad), name
    for name, tensor in model.state_dict().items():
        assert torch.equal(checkpointed.state_dict()[name], tensor), name
        # Those of the super-net, or of the network that was built for the path, do move, and once.
        if 'num_batches' in name:
            assert tensor - before[name] == (path is None or built_for is not None), name


def test_channels_last_and_autocast_give_the_same_up_to_precision():
    model = randomized(SDRResNet(**TINY)).eval()
    image = torch.randn(2, 3, 32, 32)
    path = (0, 3, 1, 2)
    expected = model(image, path)[0]
    last = model.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last), path)[0]
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
    with torch.autocast('cpu', torch.bfloat16):
        half = model(image, path)[0]
    assert (half.float() - expected).norm() < 0.1 * expected.norm()


def test_zero_init_residual_starts_each_branch_at_zero_and_frozen_norms_do_not_learn():
    model = SDRResNet(**TINY, norm_cfg=dict(type='BN', requires_grad=False, eps=1e-3))
    model.init_weights()
    assert not model.layer4[1].bn2.weight.any()
    assert model.bn1.eps == 1e-3
    assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if 'bn' in name)


@pytest.mark.parametrize('as_list', [False, True])
def test_loaded_weights_are_not_set_to_zero(as_list, tmp_path):
    model = randomized(SDRResNet(**TINY))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    loaded = SDRResNet(**TINY, init_cfg=[dict(type='Kaiming', layer='Conv2d'), init] if as_list else init)
    loaded.init_weights()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.layer4[1].bn2.weight.all()
    fresh = SDRResNet(**TINY, init_cfg=[dict(type='Kaiming', layer='Conv2d')])
    fresh.init_weights()
    assert not fresh.layer4[1].bn2.weight.any()


@pytest.mark.parametrize('option', ['norm_decay_mult', 'bias_decay_mult', 'flat_decay_mult', 'dwconv_decay_mult',
                                    'bias_lr_mult'])
def test_optimizer_settings_know_norms_as_in_the_stock_resnet(option):
    """Names of parameters by their learning rate and weight decay, as MMEngine's constructor groups them."""
    optimizer = dict(type='SGD', lr=0.1, weight_decay=0.01)
    groups = []
    for model in (SDRResNet(18, (5, 3), stem_channels=8), ResNet(18, stem_channels=8, base_channels=8)):
        wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=optimizer,
                                                  paramwise_cfg={option: 0.0}))
        names = {parameter: name for name, parameter in model.named_parameters()}
        groups.append({names[group['params'][0]]: (group['lr'], group['weight_decay'])
                       for group in wrapper.optimizer.param_groups})
    # What replaces the projection of a stock shortcut has no weights.
    assert groups[0] == groups[1]
    exempt = [name for name, settings in groups[0].items() if settings[1] == 0]
    assert len(exempt) == dict(norm_decay_mult=40, bias_decay_mult=20, flat_decay_mult=40).get(option, 0)


def test_registries_of_other_libraries_find_it_by_its_scope():
    from mmengine.registry import MODELS as ROOT
    from mmpretrain.registry import MODELS as MMPRETRAIN
    for registry in (ROOT, MMPRETRAIN, MODELS):
        assert isinstance(registry.build(dict(type='sdr_mm.SDRResNet', **TINY)), SDRResNet)
    assert isinstance(MODELS.build(dict(type='SDRResNet', **TINY)), SDRResNet)
    assert isinstance(MODELS.build(dict(type='ResNet', depth=18)), ResNet)


@pytest.mark.parametrize('wrong', [
    dict(depth=20), dict(base_channels=(52, 0)), dict(base_channels=(0, 12)), dict(base_channels=(4, 4, 4)),
    dict(routed_blocks=(3, 1)), dict(routed_blocks=(4, )),
    dict(out_indices=(4, )), dict(style='tensorflow'), dict(frozen_stages=5), dict(frozen_stages=-2),
    dict(strides=(1, 2)), dict(dilations=(1, )), dict(out_indices=()),
    dict(norm_cfg=dict(type='GN', num_groups=2))
])
def test_argument_outside_the_design_is_refused(wrong):
    with pytest.raises(InputError):
        SDRResNet(**{**TINY, **wrong})


@pytest.mark.parametrize('path', [(0, 0, 0), (0, 0, 0, 4), torch.tensor([0, 0, 0])])
def test_path_outside_the_space_is_refused(path):
    with pytest.raises(InputError, match='outside the space'):
        SDRResNet(**TINY)(torch.zeros(1, 3, 32, 32), path)


PATH = (0, 3, 1, 2)


def built_for(model, path=PATH):
    """The sub-net of ``model`` on ``path``, built for itself, with the weights cut from the super-net's state."""
    network = SDRResNet(**TINY, path=path)
    network.load_state_dict(model.state_dict(), strict=True)
    return network


def test_network_built_for_a_path_is_the_stock_resnet_through_training_steps():
    model = randomized(SDRResNet(**TINY))
    network, resnet = built_for(model).train(), stock(model, PATH, training=True)
    image = torch.randn(4, 3, 32, 32)
    for module in (network, resnet):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(image)[0].square().mean().backward()
            optimizer.step()
    ours, theirs = network.state_dict(), resnet.state_dict()
    assert set(ours) == set(theirs) == set(model.state_dict())
    for name, tensor in theirs.items():
        # Running statistics among them: here they are the sub-net's own.
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_network_built_for_a_path_loads_a_checkpoint_of_its_own_size_too(tmp_path):
    from mmengine.model import BaseModule
    from mmengine.runner import load_checkpoint
    model = randomized(SDRResNet(**TINY))
    network = built_for(model)
    again = SDRResNet(**TINY, path=PATH)
    again.load_state_dict(stock(model, PATH).state_dict(), strict=True)
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    # Inside a detector, and read by MMEngine, which does not go through load_state_dict.
    torch.save({f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}, tmp_path / 'x.pth')
    holder = BaseModule()
    holder.backbone = SDRResNet(**TINY, path=PATH)
    load_checkpoint(holder, str(tmp_path / 'x.pth'), strict=True)
    torch.testing.assert_close(holder.backbone.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_network_built_for_a_path_refuses_a_super_net_of_another_layout():
    other = SDRResNet(depth=18, base_channels=(4, 4), stem_channels=8)
    with pytest.raises(RuntimeError, match='size mismatch'):
        SDRResNet(**TINY, path=PATH).load_state_dict(other.state_dict())


def test_network_built_for_a_path_takes_no_other():
    network = SDRResNet(**TINY, path=PATH).eval()
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(network(image, torch.tensor(PATH)), network(image), rtol=0, atol=0)
    with pytest.raises(InputError, match=r'sub-net on path \(0, 3, 1, 2\) only'):
        network(image, (0, 3, 1, 1))
    with pytest.raises(InputError, match='sub-net on path'):
        network.supernet_config()
    with pytest.raises(InputError, match='outside the space'):
        SDRResNet(**TINY, path=(0, 3, 1))


@pytest.mark.parametrize('config', [dict(TINY, routed_blocks=(3, )), TINY])
def test_supernet_that_no_stock_resnet_equals_says_so(config):
    with pytest.raises(InputError, match='no stock ResNet'):
        SDRResNet(**config).supernet_config()
