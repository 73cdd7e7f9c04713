"""Pruning by magnitude, to zeros and to fewer channels, against NumPy and networks whose unneeded parts are known."""

import copy
import os

import numpy as np
import pytest
import torch
import torchvision
from mmengine.runner import load_checkpoint
from mmpretrain.models import ResNet
from repository import load_tool
from routing_data import MEAN, STD, write

from sdr_mm.errors import InputError
from sdr_mm.evaluation.features import pooled_features
from sdr_mm.images import ImageStore
from sdr_mm.models.backbone import build_plain
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.pruning import narrower, num_parameters, prune_channels, prune_weights
from sdr_mm.models.zoo import load_network
from sdr_mm.routing import reset_bn

tool = load_tool('prune')


def config_of(depth, base, stem):
    return dict(type='mmpretrain.ResNet', depth=depth, in_channels=3, stem_channels=stem, base_channels=base)


def network_of(config, seed=0):
    """A network none of whose values is a special one, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    network = build_plain(config)
    for name, value in network.state_dict().items():
        if value.dim() == 4:
            value.normal_(0, (2 / value[0].numel())**0.5, generator=generator)
        elif name.endswith(('weight', 'running_var')):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(0, 0.2, generator=generator)
    return network


def conv_weights(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items() if value.dim() == 4}


def outputs(network, size=40):
    with torch.no_grad():
        return network(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3)))[-1]


def stages(depth):
    """Expansion, and channels a stage scales and blocks that it has, written down from He et al. 2016, table 1."""
    return {18: (1, (2, 2, 2, 2)), 34: (1, (3, 4, 6, 3)), 50: (4, (3, 4, 6, 3)), 101: (4, (3, 4, 23, 3))}[depth]


def counted(depth, base, stem):
    """Parameters of a ResNet by hand: kernels, and two values of the norm for each output channel."""
    expansion, blocks = stages(depth)
    count, inputs = 3 * stem * 49 + 2 * stem, stem
    for stage, number in enumerate(blocks):
        width = base * 2**stage
        for block in range(number):
            out = width * expansion
            if block == 0 and (stage > 0 or inputs != out):
                count += inputs * out + 2 * out
            layers = [(inputs, width, 9), (width, out, 9)] if expansion == 1 else [
                (inputs, width, 1), (width, width, 9), (width, out, 1)]
            count += sum(a * b * kernel + 2 * b for a, b, kernel in layers)
            inputs = out
    return count


@pytest.mark.parametrize('depth, base, stem, expected', [
    (50, 64, 64, 23_508_032), (50, 100, 64, 57_314_336), (50, 99, 64, 56_175_107), (50, 63, 64, 22_780_571),
    (18, 64, 64, 11_176_512), (34, 28, 16, None)])
def test_size_of_the_target_is_computed_and_is_the_papers(depth, base, stem, expected):
    assert num_parameters(config_of(depth, base, stem)) == (expected or counted(depth, base, stem))
    assert counted(depth, base, stem) == num_parameters(config_of(depth, base, stem))


@pytest.mark.parametrize('depth', [18, 50])
def test_the_weights_of_least_magnitude_become_zero_and_no_others(depth):
    wide = config_of(depth, 10, 8)
    network = network_of(wide)
    before, kept = copy.deepcopy(network.state_dict()), num_parameters(narrower(wide, 6))
    assert kept == counted(depth, 6, 8)
    prune_weights(network, kept)
    assert sum(int((parameter != 0).sum()) for parameter in network.parameters()) == kept
    assert list(network.state_dict()) == list(before), 'a plain network, without masks'
    everything = np.concatenate([value.numpy().ravel() for value in before.values() if value.dim() == 4])
    norms = sum(value.numel() for name, value in before.items() if value.dim() == 1 and 'running' not in name)
    # The kept - norms largest of all layers together.
    limit = np.partition(np.abs(everything), everything.size - (kept - norms))[everything.size - (kept - norms)]
    for name, value in network.state_dict().items():
        expected = before[name].numpy()
        if value.dim() == 4:
            expected = np.where(np.abs(expected) >= limit, expected, 0)
        assert np.array_equal(value.numpy(), expected), name
    shares = [np.mean(value == 0) for value in conv_weights(network).values()]
    assert max(shares) - min(shares) > 0.1, 'not so many in each layer, but in all of them together'


def test_a_number_that_cannot_be_reached_is_refused():
    network = network_of(config_of(18, 4, 4))
    total = sum(parameter.numel() for parameter in network.parameters())
    norms = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 1)
    for number in (total, total + 1, norms - 1, 0):
        message = f'cannot be pruned to {number}: give a number from {norms} to {total - 1}'
        with pytest.raises(InputError, match=message):
            prune_weights(network, number)
    prune_weights(network, norms)
    assert all(not value.any() for value in conv_weights(network).values())


def silenced(network, config, seed=1):
    """Makes all channels but those of a network of ``config`` compute and pass on nothing; returns which are left.

    One choice for what the blocks of a stage add to, and one for each layer inside of them.
    """
    random = np.random.default_rng(seed)
    state = network.state_dict()
    depth, base, stem = (config[key] for key in ('depth', 'base_channels', 'stem_channels'))
    expansion, blocks = stages(depth)

    def choose(total, count):
        return np.sort(random.permutation(total)[:count])

    def silence(conv, norm, chosen):
        rest = np.setdiff1d(np.arange(len(state[f'{conv}.weight'])), chosen)
        state[f'{conv}.weight'][rest] = 0
        for key in ('weight', 'bias', 'running_mean'):
            state[f'{norm}.{key}'][rest] = 0
        left[conv] = chosen.tolist()

    left = {}
    stream = choose(network.stem_channels, stem)
    silence('conv1', 'bn1', stream)
    for stage, number in enumerate(blocks):
        width = base * 2**stage
        for block in range(number):
            name = f'layer{stage + 1}.{block}'
            if f'{name}.downsample.0.weight' in state:
                stream = choose(len(state[f'{name}.downsample.0.weight']), width * expansion)
                silence(f'{name}.downsample.0', f'{name}.downsample.1', stream)
            last = 2 if expansion == 1 else 3
            for i in range(1, last + 1):
                conv = f'{name}.conv{i}'
                silence(conv, f'{name}.bn{i}', stream if i == last else choose(len(state[f'{conv}.weight']), width))
    return left


PAIRS = [((18, 7, 5), (18, 4, 5)), ((18, 7, 6), (18, 4, 3)), ((18, 6, 6), (18, 4, 4)), ((34, 5, 4), (34, 3, 2)),
         ((50, 5, 8), (50, 3, 8)), ((50, 5, 9), (50, 3, 7)), ((101, 3, 4), (101, 2, 4)), ((50, 2, 8), (50, 1, 4)),
         ((50, 5, 8), (50, 5, 6))]


@pytest.mark.parametrize('wide, narrow', PAIRS)
def test_channels_that_do_nothing_go_and_the_output_stays(wide, narrow):
    wide, narrow = config_of(*wide), config_of(*narrow)
    network = network_of(wide)
    left = silenced(network, narrow)
    before, expected = copy.deepcopy(network.state_dict()), outputs(network)
    pruned = prune_channels(network, narrow)
    assert sum(parameter.numel() for parameter in pruned.parameters()) == counted(
        narrow['depth'], narrow['base_channels'], narrow['stem_channels'])
    last = left['layer4.0.downsample.0']
    torch.testing.assert_close(outputs(pruned), expected[:, last], rtol=1e-4, atol=1e-4)
    assert expected[:, last].abs().max() > 0.1
    for name, chosen in left.items():
        weight = pruned.state_dict()[f'{name}.weight']
        assert len(weight) == len(chosen) and bool(weight.flatten(1).any(1).all()), name
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    stock = ResNet(**{key: value for key, value in narrow.items() if key != 'type'})
    assert not any(stock.load_state_dict(pruned.state_dict(), strict=True))


def test_a_stage_keeps_the_channels_that_all_its_blocks_together_need():
    """Inside a block the layer decides alone; the sum of the stage is decided by the sum over its blocks."""
    config = config_of(18, 3, 5)
    network = network_of(config)
    state = network.state_dict()
    convs = ('layer2.0.conv2', 'layer2.0.downsample.0', 'layer2.1.conv2')
    # A row for each channel: what its weights in the three layers sum up to. Each layer alone would choose others.
    table = np.array([[9, 1, 1], [1, 9, 1.2], [5, 5, 5], [6, 6, 0.5], [1, 1, 9.4], [0.1, 0.1, 0.1]])
    for conv, values in zip(convs, table.T):
        weight = state[f'{conv}.weight']
        signs = torch.sign(weight)
        weight.copy_(signs * torch.tensor(values, dtype=weight.dtype).view(-1, 1, 1, 1) / weight[0].numel())
    weight = state['layer2.1.conv1.weight']
    weight.copy_(torch.arange(1, 7.).view(-1, 1, 1, 1).expand_as(weight))
    pruned = prune_channels(network, narrower(config, 2)).state_dict()
    expected = [1, 2, 3, 4]  # The sums are 11, 11.2, 15, 12.5, 11.4 and 0.3.
    inputs = [2, 3, 4, 5]  # The largest rows of layer2.1.conv1.
    for conv in convs:
        norm = f'{conv[:-1]}1' if 'downsample' in conv else conv.replace('conv', 'bn')
        assert torch.equal(pruned[f'{norm}.running_mean'], state[f'{norm}.running_mean'][expected]), conv
    assert torch.equal(pruned['layer2.1.conv2.weight'], state['layer2.1.conv2.weight'][expected][:, inputs])
    assert torch.equal(pruned['layer2.1.conv1.weight'], state['layer2.1.conv1.weight'][inputs][:, expected])


def test_a_stem_that_a_stage_adds_to_keeps_the_channels_of_the_stage():
    """Without a projection between them; the stem alone would choose the first two, the blocks alone the last two."""
    config = config_of(18, 4, 4)
    network = network_of(config)
    state = network.state_dict()
    for conv, values in (('conv1', (9, 3, 2, 1)), ('layer1.0.conv2', (1, 1, 3, 4)), ('layer1.1.conv2', (1, 1, 3, 4))):
        weight = state[f'{conv}.weight']
        weight.copy_(torch.tensor(values).view(-1, 1, 1, 1) / weight[0].numel() * torch.ones_like(weight))
    pruned = prune_channels(network, narrower(config, 2, 2)).state_dict()
    for norm in ('bn1', 'layer1.0.bn2', 'layer1.1.bn2'):  # The sums are 11, 5, 8 and 9.
        assert torch.equal(pruned[f'{norm}.running_mean'], state[f'{norm}.running_mean'][[0, 3]]), norm


@pytest.mark.parametrize('wide, narrow', [((18, 7, 4), (18, 4, 4)), ((50, 5, 8), (50, 2, 8)), ((18, 6, 6), (18, 4, 6))])
def test_a_projection_is_neither_made_nor_removed(wide, narrow):
    with pytest.raises(InputError, match=f'layer1.0.downsample.0 .*give another --stem-channels than {narrow[2]}$'):
        prune_channels(network_of(config_of(*wide)), config_of(*narrow))


@pytest.mark.parametrize('base, stem', [(9, 6), (8, 6), (8, None), (6, 7), (9, None)])
def test_what_is_no_smaller_is_refused(base, stem):
    with pytest.raises(InputError, match='base_channels=8 and stem_channels=6 cannot be pruned to .*give smaller ones'):
        narrower(config_of(18, 8, 6), base, stem)


@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    """A checkpoint as training writes it, of a network whose images are of 32 px and normalized in a way of its own."""
    folder = tmp_path_factory.mktemp('wide')
    network = network_of(config_of(18, 10, 8))
    state = {f'backbone.{name}': value for name, value in network.state_dict().items()}
    state['neck.fc0.weight'] = torch.zeros(2, 2)
    config = (f'data_preprocessor = dict(mean={list(MEAN)}, std={list(STD)})\n'
              'evaluation = dict(resize=36, size=32, k=3)\n')
    torch.save(dict(state_dict=state, meta=dict(cfg=config)), folder / 'wide.pth')
    write(folder / 'images', ('rings', 'stripes'), 8, 0)
    return folder


def features(file, images=4):
    network = load_network(str(file))
    assert network.settings.normalization == (MEAN, STD)
    assert (network.settings.resize, network.settings.size, network.settings.k) == (36, 32, 3)
    return pooled_features(network.module, [torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(0))])


def test_the_tool_writes_zeros_into_a_network_as_wide(wide, tmp_path, capsys):
    out = tmp_path / 'ticket.pth'
    tool.main([str(wide / 'wide.pth'), '--base-channels', '6', '--out', str(out)])
    kept = counted(18, 6, 8)
    assert f'{counted(18, 10, 8):,} parameters, pruned to the {kept:,} of base width 6; {kept:,} are not zero' in \
        capsys.readouterr().out
    stock = ResNet(depth=18, base_channels=10, stem_channels=8)
    load_checkpoint(stock, str(out), strict=True)
    assert sum(int((parameter != 0).sum()) for parameter in stock.parameters()) == kept
    assert features(out).shape == (4, 80)
    meta = torch.load(out)['meta']
    assert meta['backbone']['base_channels'] == 10
    assert (meta['pruning'], meta['pruned_checkpoint']) == ('weights', 'wide.pth')
    assert meta['mean'] == list(MEAN) and meta['bn_reset'] == dict(statistics='own', images=0)


def test_the_tool_writes_a_narrower_network(wide, tmp_path):
    out = tmp_path / 'narrow.pth'
    tool.main([str(wide / 'wide.pth'), '--structured', '--base-channels', '6', '--out', str(out)])
    stock = ResNet(depth=18, base_channels=6, stem_channels=8)
    load_checkpoint(stock, str(out), strict=True)
    assert sum(parameter.numel() for parameter in stock.parameters()) == counted(18, 6, 8)
    assert features(out).shape == (4, 48)
    assert torch.load(out)['meta']['pruning'] == 'channels'


def test_of_the_stock_width_torchvision_loads_it(tmp_path):
    network = network_of(config_of(50, 66, 64))
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'wide.pth')
    tool.main([str(tmp_path / 'wide.pth'), '--structured', '--out', str(tmp_path / 'narrow.pth')])
    model = torchvision.models.resnet50()
    keys = model.load_state_dict(torch.load(tmp_path / 'narrow.pth')['state_dict'], strict=False)
    assert sorted(keys.missing_keys) == ['fc.bias', 'fc.weight'] and keys.unexpected_keys == []
    model.fc = torch.nn.Identity()
    expected = outputs(load_resnet(tmp_path / 'narrow.pth')[0]).mean((2, 3))
    torch.testing.assert_close(outputs(lambda images: [model.eval()(images)]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('options', [(), ('--structured', )])
def test_the_tool_measures_the_statistics_again(options, wide, tmp_path):
    images = wide / 'images'
    arguments = [str(wide / 'wide.pth'), '--base-channels', '6', *options, '--batch-size', '16', '--device', 'cpu']
    tool.main([*arguments, '--out', str(tmp_path / 'own.pth')])
    tool.main([*arguments, '--out', str(tmp_path / 'pool.pth'), '--data', str(images)])
    own, pool = (load_resnet(tmp_path / name)[0] for name in ('own.pth', 'pool.pth'))
    assert torch.load(tmp_path / 'pool.pth')['meta']['bn_reset'] == dict(statistics='pool', images=16)
    store = ImageStore(sorted(images.rglob('*.png')), resize=36, size=32)
    reset_bn(own, store.batches(np.arange(16), 16, mean=MEAN, std=STD))
    for name, value in own.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            torch.testing.assert_close(pool.state_dict()[name], value, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize('options, message', [
    (['--base-channels', '64'], 'base_channels=10 and stem_channels=8 cannot be pruned to 64 and 8'),
    (['--base-channels', '10'], 'cannot be pruned to 10 and 8'),
    (['--base-channels', '6', '--stem-channels', '4'], '--stem-channels is for --structured'),
    (['--structured', '--base-channels', '8'], 'layer1.0.downsample.0'),
    (['--base-channels', '6', '--data', 'nothing'], 'there are no images in nothing'),
    (['--base-channels', '0'], '--base-channels: it is a whole number of at least 1'),
])
def test_bad_input_is_one_line_and_writes_nothing(options, message, wide, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        tool.main([str(wide / 'wide.pth'), '--out', str(tmp_path / 'x.pth'), *options])
    assert '\n' not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_what_is_no_resnet_or_has_another_file_in_its_place_is_refused(wide, tmp_path):
    torch.save(dict(state_dict=torchvision.models.squeezenet1_1().state_dict()), tmp_path / 'other.pth')
    with pytest.raises(InputError, match='other.pth holds no ResNet in a known layout'):
        tool.main([str(tmp_path / 'other.pth'), '--out', str(tmp_path / 'x.pth')])
    out = tmp_path / 'x.pth'
    out.write_text('precious')
    arguments = [str(wide / 'wide.pth'), '--base-channels', '6', '--out', str(out)]
    with pytest.raises(InputError, match='exists already'):  # Before anything is read.
        tool.main(['nothing.pth', '--out', str(out)])
    with pytest.raises(InputError, match='exists already'):
        tool.main(arguments)
    assert out.read_text() == 'precious'
    tool.main([*arguments, '--overwrite'])
    load_resnet(out)


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder, )


def test_a_file_that_would_run_code_does_not(tmp_path):
    torch.save(dict(state_dict=Harm(tmp_path / 'harm')), tmp_path / 'bad.pth')
    with pytest.raises(InputError, match='holds a Python object that is no weight'):
        tool.main([str(tmp_path / 'bad.pth'), '--out', str(tmp_path / 'x.pth')])
    assert [path.name for path in tmp_path.iterdir()] == ['bad.pth']
