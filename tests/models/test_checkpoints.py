"""Reading the ResNets of other publishers."""

import datetime
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from mmengine.logging import HistoryBuffer
from mmpretrain.models.backbones import ResNet
from safetensors.torch import save_file

from sdr_mm.errors import InputError, NotFiniteError
from sdr_mm.images import IMAGENET
from sdr_mm.models.checkpoints import (
    backbone_state,
    infer_resnet,
    load_exactly,
    load_resnet,
    read_checkpoint,
    read_state_dict,
    split_backbone,
    stored_config,
)

SMALL = dict(depth=18, base_channels=4, stem_channels=6, in_channels=3)


def small():
    return ResNet(**SMALL).state_dict()


LAYOUTS = {
    'mmpretrain': ('backbone.', ['neck.fc0.weight', 'head.predictor.fc.weight', 'data_preprocessor.mean']),
    'byol': ('backbone.', ['target_net.module.0.conv1.weight', 'neck.fc0.weight']),
    'moco': ('module.encoder_q.', ['module.encoder_q.fc.0.weight', 'module.encoder_k.conv1.weight', 'module.queue']),
    'simsiam': ('module.encoder.', ['module.encoder.fc.0.weight', 'module.predictor.0.weight']),
    'mocov3': ('module.base_encoder.', ['module.base_encoder.fc.weight', 'module.predictor.0.weight']),
    'dataparallel': ('module.', ['module.fc.weight']),
    'torchvision': ('', ['fc.weight', 'fc.bias']),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_each_publishers_layout_is_recognized(layout, tmp_path):
    prefix, others = LAYOUTS[layout]
    state = {prefix + key: value for key, value in small().items()}
    state.update({key: torch.ones(2) for key in others})
    torch.save({'state_dict': state, 'epoch': 3}, tmp_path / 'x.pth')
    network, info = load_resnet(tmp_path / 'x.pth')
    assert info['prefix'] == prefix and sorted(info['dropped']) == sorted(others)
    assert info['config'] == dict(SMALL, type='mmpretrain.ResNet') and info['settings'].normalization == IMAGENET
    assert not network.training
    assert all(torch.equal(value, state[prefix + key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_architecture_follows_from_the_shapes(depth):
    with torch.device('meta'):
        state = getattr(torchvision.models, f'resnet{depth}')().state_dict()
    config = infer_resnet(backbone_state(state))
    assert config == dict(type='mmpretrain.ResNet', depth=depth, in_channels=3, stem_channels=64, base_channels=64)


def test_torchvision_and_its_twin_give_the_same_features(tmp_path):
    model = torchvision.models.resnet18().eval()
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    network, _ = load_resnet(tmp_path / 'x.pth')
    model.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 33, 47)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[-1].mean((2, 3)), model(x))


def test_a_file_without_batch_counters_loads(tmp_path):
    torch.save({k: v for k, v in small().items() if 'num_batches' not in k}, tmp_path / 'x.pth')
    assert load_resnet(tmp_path / 'x.pth')[0].bn1.num_batches_tracked == 0


def test_mmengines_history_and_normalization_are_read(tmp_path):
    history = HistoryBuffer()
    history.update(1.0)
    text = ("model = dict(data_preprocessor=dict(mean=[1.0, 2, 3], std=(4, 5, 6.5)), type='X')\n"
            "a = {'b.c': None, 'd': [dict(e=-1)]}\nlast = inf\n")
    state = {f'backbone.{key}': value for key, value in small().items()}
    checkpoint = dict(state_dict=state, meta=dict(cfg=text), message_hub=dict(loss=history))
    torch.save(checkpoint, tmp_path / 'x.pth')
    assert len(read_state_dict(tmp_path / 'x.pth')) == len(state)
    _, info = load_resnet(tmp_path / 'x.pth')
    assert info['settings'].normalization == ((1, 2, 3), (4, 5, 6.5))
    assert stored_config(checkpoint)['a'] == {'b.c': None, 'd': [{'e': -1}]}
    assert stored_config(checkpoint)['last'] == float('inf')


def test_it_is_read_again_after_others_have_withdrawn_the_permission(tmp_path):
    history = HistoryBuffer()
    history.update(2.0)
    torch.save(dict(state_dict=small(), message_hub=dict(loss=history)), tmp_path / 'x.pth')
    with torch.serialization.safe_globals([HistoryBuffer]):
        pass
    assert read_checkpoint(tmp_path / 'x.pth')['message_hub']['loss'].mean() == 2


class _Steal:

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_is_allowed_for_the_history_and_nothing_else(tmp_path):
    torch.save(dict(state_dict=small(), x=_Steal()), tmp_path / 'x.pth')
    with pytest.raises(InputError, match='cannot be read as a checkpoint'):
        read_checkpoint(tmp_path / 'x.pth')


def test_a_stored_config_is_never_executed(tmp_path):
    target = tmp_path / 'ran'
    assert stored_config(dict(meta=dict(cfg=f'x = open({str(target)!r}, "w")\n'))) == {}
    assert not target.exists()


@pytest.mark.parametrize('text', [
    'x = {[]: 1}', 'x = dict(3)', 'x = dict([1])', 'x = ' + '[' * 10**4, 'x = ' + '-' * 10**5 + '1', 'x = 1\0',
    'x = 9' * 9, 'x = ' + '9' * 10**4, '\ud800', 'x =', 'x = 1 + y', "x = '' * 9", 3, b'x = 1', None, ['x = 1'],
], ids=lambda text: ascii(text)[:12])
def test_a_stored_config_that_is_none_is_empty(text):
    assert stored_config(dict(meta=dict(cfg=text))) == {}


def test_what_cannot_be_placed_is_named():
    state = small()
    state['layer1.0.se.weight'] = state['surprise'] = torch.ones(1)
    with pytest.raises(InputError, match=r'the checkpoint: 2 keys .*layer1\.0\.se\.weight, surprise'):
        split_backbone(state)


def _cut(path):
    torch.save(small(), path)
    path.write_bytes(path.read_bytes()[:3000])


def _foreign(path):
    torch.save({'state_dict': small(), 'date': datetime.date(2022, 2, 22)}, path)


def _pickled(path):
    path.write_bytes(pickle.dumps([1, 2]))


def _missing_key(path):
    torch.save({k: v for k, v in small().items() if k != 'layer4.1.conv2.weight'}, path)


def _short(path):
    torch.save({k: v for k, v in small().items() if 'layer3.1' not in k}, path)


def _wide(path):
    state = small()
    state['layer2.0.conv1.weight'] = torch.ones(5, 4, 3, 3)
    torch.save(state, path)


@pytest.mark.parametrize('write, message', [
    (lambda path: None, 'there is no file .*x.pth'),
    (lambda path: path.write_text('hello'), 'cannot be read as a checkpoint'),
    (_cut, 'cannot be read as a checkpoint'),
    (_foreign, r'Python object that is no weight \(datetime.date\)'),
    (_pickled, 'x.pth'),
    (lambda path: torch.save([1], path), 'holds a list'),
    (lambda path: torch.save({'epoch': 1}, path), 'holds no weights'),
    (lambda path: torch.save({'fc.weight': torch.ones(2)}, path), 'holds no ResNet'),
    (_short, r'no ResNet has \[2, 2, 1, 2\] basic blocks'),
    (_missing_key, r'--baseline .*x.pth lacks 1 weights .*layer4\.1\.conv2\.weight'),
    (_wide, r'another shape for 1 .*layer2\.0\.conv1\.weight \(5, 4, 3, 3\) instead of \(8, 4, 3, 3\)'),
])
def test_what_is_no_resnet_ends_in_one_line(write, message, tmp_path):
    write(tmp_path / 'x.pth')
    with pytest.raises(InputError, match=message) as caught:
        load_resnet(tmp_path / 'x.pth', '--baseline')
    assert '\n' not in str(caught.value)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_no_damaged_byte_becomes_a_weight(tmp_path):
    file, state = tmp_path / 'x.pth', small()
    torch.save(state, file)
    content = file.read_bytes()
    random = np.random.default_rng(0)
    places = random.integers(0, len(content), 150).tolist()
    noticed = 0
    for number, place in enumerate(places):
        damaged = bytearray(content)
        if number % 3:
            damaged[place] ^= 1 << int(random.integers(8))
        else:  # As if a block of the disk were lost.
            damaged[place:place + 64] = bytes(len(damaged[place:place + 64]))
        file.write_bytes(damaged)
        try:
            # What is left are the gaps between the tensors.
            assert same(read_checkpoint(file), state), place
        except InputError as error:
            assert 'x.pth' in str(error) and '\n' not in str(error)
            noticed += 1
    assert noticed > 75


def test_a_small_file_that_unpacks_to_far_more_is_not_read(tmp_path):
    torch.save(dict(a=torch.zeros(30_000_000)), tmp_path / 'honest.pth')
    assert read_checkpoint(tmp_path / 'honest.pth')['a'].numel() == 30_000_000
    with zipfile.ZipFile(tmp_path / 'honest.pth') as honest, zipfile.ZipFile(tmp_path / 'bomb.pth', 'w') as bomb:
        for member in honest.infolist():
            bomb.writestr(member.filename, honest.read(member), zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'bomb.pth').stat().st_size < 200_000
    with pytest.raises(InputError, match='bomb.pth is no honest checkpoint, its 1.* bytes unpack to 120,.*: give an'):
        read_checkpoint(tmp_path / 'bomb.pth')


def test_it_says_which_part_is_damaged(tmp_path):
    file, state = tmp_path / 'x.pth', dict(a=torch.zeros(3), b=torch.full((64, ), 0.7))
    torch.save(state, file)
    content = bytearray(file.read_bytes())
    content[content.index(state['b'].numpy().tobytes()) + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r'x\.pth is damaged, x/data/1 in it does not have its checksum: copy or'):
        read_checkpoint(file)
    assert not same(torch.load(file), state)  # PyTorch itself takes it.


def with_value(key, value):
    state = small()
    state[key].view(-1)[-1] = value
    return state


VALUES = {
    'a weight that is NaN': (with_value, 'layer2.0.conv1.weight', float('nan'), 'not finite'),
    'a bias that is infinite': (with_value, 'bn1.bias', float('inf'), 'not finite'),
    'a mean that is NaN': (with_value, 'layer1.0.bn2.running_mean', float('nan'), 'not finite'),
    'a variance that is NaN': (with_value, 'layer1.0.bn2.running_var', float('nan'), 'not finite'),
    'a negative variance': (with_value, 'layer4.1.bn1.running_var', -1e-3, 'negative variances'),
}


@pytest.mark.parametrize('name', VALUES)
@pytest.mark.parametrize('write', [torch.save, save_file], ids=['torch', 'safetensors'])
def test_values_that_no_network_has_are_refused_by_name(name, write, tmp_path):
    make, key, value, message = VALUES[name]
    file = tmp_path / f'x.{"pth" if write is torch.save else "safetensors"}'
    write(make(key, value), file)
    with pytest.raises(InputError, match=rf'--baseline .*{file.name}: {re.escape(key)} .*{message}') as caught:
        load_resnet(file, '--baseline')
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value, NotFiniteError) == (message == 'not finite')


def test_a_mask_may_be_infinite_and_half_precision_is_enough():
    network = torch.nn.Linear(2, 2)
    network.register_buffer('mask', torch.zeros(2))
    load_exactly(network, dict(network.state_dict(), mask=torch.tensor([0, -float('inf')])), 'x')
    half = {key: value.half() for key, value in network.state_dict().items()}
    load_exactly(network, half, 'x')
    assert torch.equal(network.weight, half['weight'].float())
    with pytest.raises(NotFiniteError, match='weight is not finite'):  # In float32, in which it is used.
        load_exactly(network, dict(half, weight=torch.full((2, 2), 1e300, dtype=torch.float64)), 'x')


KEY = 'layer2.0.conv1.weight'


def _quantized(value):
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


ODD = {
    'sparse': (torch.Tensor.to_sparse, 'sparse'),
    'meta': (lambda value: value.to('meta'), r'without values \(meta\)'),
    'quantized': (_quantized, 'quantized'),
    'complex': (lambda value: value.to(torch.complex64), 'complex'),
    'int8': (lambda value: value.to(torch.int8), 'int8 instead of float32'),
    'bool': (lambda value: value > 0, 'bool instead of float32'),
    'a value for all': (lambda value: torch.zeros(1).expand(value.shape), 'larger than its data'),
    'all the memory there is': (lambda value: torch.zeros(1).expand(10**6, 10**6, 3, 3), 'larger than its data'),
}


@pytest.mark.parametrize('name', ODD)
def test_tensors_that_no_layer_takes_are_refused_by_name(name, tmp_path):
    change, message = ODD[name]
    torch.save(dict(small(), **{KEY: change(small()[KEY])}), tmp_path / 'x.pth')
    with pytest.raises(InputError, match=rf'x\.pth: {re.escape(KEY)} is .*{message}') as caught:
        load_resnet(tmp_path / 'x.pth')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('change', [lambda value: value.long(), lambda value: value > 0], ids=['int64', 'bool'])
def test_they_are_in_safetensors_too(change, tmp_path):
    save_file(dict(small(), **{KEY: change(small()[KEY])}), tmp_path / 'x.safetensors')
    with pytest.raises(InputError, match=rf'x\.safetensors: {re.escape(KEY)} is (int64|bool) instead of float32'):
        load_resnet(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('channels', [1, 4])
def test_a_network_for_other_images_than_rgb_is_one_line(channels, tmp_path):
    torch.save(ResNet(**dict(SMALL, in_channels=channels)).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(InputError, match=rf'--baseline .*x\.pth: the network takes images of {channels} channel'):
        load_resnet(tmp_path / 'x.pth', '--baseline')


@pytest.mark.parametrize('mean, std, message', [
    ((1.0, 2.0), (1.0, 2.0), 'has 2 values, and images have 3 channels'),
    ((1.0, 2.0, 3.0), (1.0, 0.0, 1.0), 'std above 0'),
    ((1.0, 2.0, 3.0), (1.0, ), 'for each channel'),
    ((1.0, 2.0, 1e999), (1.0, 1.0, 1.0), 'finite'),
    (('a', 2.0, 3.0), (1.0, 1.0, 1.0), 'a number for each channel'),
])
def test_a_normalization_that_fits_no_image_is_one_line(mean, std, message, tmp_path):
    config = f'model = dict(data_preprocessor=dict(mean={mean!r}, std={std!r}))'.replace('inf', '1e999')
    torch.save(dict(state_dict=small(), meta=dict(cfg=config)), tmp_path / 'x.pth')
    with pytest.raises(InputError, match=rf'^.*x\.pth: .*{message}') as caught:
        load_resnet(tmp_path / 'x.pth')
    assert '\n' not in str(caught.value)
