"""A sub-net leaves as a plain ResNet checkpoint."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from repository import load_tool
from routing_data import MEAN, STD, make_run, network

from sdr_mm.errors import InputError
from sdr_mm.images import ImageStore
from sdr_mm.models import SDRResNet
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.routing import export_subnet, extract_subnet, reset_bn

tool = load_tool('export_subnet')

FAST = ['--resize', '32', '--size', '32', '--workers', '1', '--device', 'cpu', '--batch-size', '8']


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


def test_mmpretrain_loads_every_key(tmp_path):
    backbone = network().eval()
    subnet = extract_subnet(backbone, (1, 0))
    reset_bn(subnet, [torch.randn(4, 3, 32, 32)])
    export_subnet(subnet, tmp_path / 'x.pth', config=backbone.subnet_config(), meta=dict(path=[1, 0]))
    stock = MODELS.build(backbone.subnet_config())
    load_checkpoint(stock, str(tmp_path / 'x.pth'), strict=True)
    assert list(stock.state_dict()) == list(torch.load(tmp_path / 'x.pth')['state_dict'])
    assert all(torch.equal(value, subnet.state_dict()[key]) for key, value in stock.state_dict().items())
    by_config = MODELS.build(
        dict(backbone.subnet_config(), init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth'))))
    by_config.init_weights()
    assert all(torch.equal(value, subnet.state_dict()[key]) for key, value in by_config.state_dict().items())
    assert torch.load(tmp_path / 'x.pth')['meta']['path'] == [1, 0]


def test_the_name_of_a_file_needs_no_suffix(tmp_path):
    backbone = network().eval()
    export_subnet(extract_subnet(backbone, (1, 0)), tmp_path / 'backbone', config=backbone.subnet_config())
    assert load_resnet(tmp_path / 'backbone')[1]['layout'] == 'torchvision'


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvision_lacks_its_classifier_only(depth, tmp_path):
    backbone = SDRResNet(depth=depth, base_channels=(52, 12), num_groups=2, routed_blocks=(3, ))
    backbone.init_weights()
    subnet = extract_subnet(backbone, (1, ))
    export_subnet(subnet, tmp_path / 'x.pth', config=backbone.subnet_config())
    model = getattr(torchvision.models, f'resnet{depth}')()
    keys = model.load_state_dict(torch.load(tmp_path / 'x.pth')['state_dict'], strict=False)
    assert sorted(keys.missing_keys) == ['fc.bias', 'fc.weight'] and keys.unexpected_keys == []
    model.fc = torch.nn.Identity()
    model.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), subnet(x)[-1].mean((2, 3)))


def test_a_round_trip_keeps_the_forward_of_the_path(tmp_path):
    backbone = network().eval()
    for path in backbone.space.paths:
        file = tmp_path / f'{path}.pth'
        export_subnet(extract_subnet(backbone, path), file, config=backbone.subnet_config())
        loaded, info = load_resnet(file)
        x = torch.randn(2, 3, 33, 33)
        with torch.no_grad():
            torch.testing.assert_close(loaded(x)[-1], backbone(x, path)[-1], rtol=1e-5, atol=1e-5)
        assert info['prefix'] == '' and info['dropped'] == []


def test_what_is_extracted_shares_no_memory():
    backbone = network()
    before = copy.deepcopy(backbone.state_dict())
    subnet = extract_subnet(backbone, (0, 1))
    with torch.no_grad():
        for value in subnet.state_dict().values():
            value.zero_()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_the_super_net_is_extracted_where_it_is_a_stock_resnet():
    backbone = SDRResNet(depth=50, base_channels=(3, 1), num_groups=2, stem_channels=8)
    stock = extract_subnet(backbone, None)
    backbone.eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(stock(x)[-1], backbone(x)[-1], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match='no plain network|no stock ResNet'):
        extract_subnet(network(), None)


def test_an_export_that_would_be_broken_leaves_nothing(tmp_path):
    backbone = network()
    subnet = extract_subnet(backbone, (0, 0))
    with pytest.raises(InputError, match='lacks|shape'):
        export_subnet(subnet, tmp_path / 'x.pth', config=dict(backbone.subnet_config(), base_channels=9))
    subnet.layer3[0].conv1.weight.data[0] = float('nan')
    with pytest.raises(InputError, match='layer3.0.conv1.weight is not finite'):
        export_subnet(subnet, tmp_path / 'x.pth', config=backbone.subnet_config())
    assert list(tmp_path.iterdir()) == []


def test_the_tool_writes_the_sub_net_with_its_clusters_statistics(run, tmp_path, capsys):
    out = tmp_path / 'x.pth'
    tool.main([str(run / 'sdr.pth'), '--path', '1,0', '--out', str(out), '--bn-images', '5', *FAST])
    text = capsys.readouterr().out
    # Path (1, 0) is sub-net 2, and it belongs to cluster 1.
    assert 'sub-net 2, path 1,0: ResNet-18' in text and 'cluster 1' in text
    meta = torch.load(out)['meta']
    assert meta['bn_reset']['images'] == 5 and meta['subnet'] == 2 and meta['mean'] == list(MEAN)
    backbone, _ = load_sdr(run / 'sdr.pth')
    files = sorted((run / 'pool').iterdir())[1::4]
    store = ImageStore(files, resize=32, size=32)
    whole = tmp_path / 'whole.pth'
    tool.main([str(run / 'sdr.pth'), '--subnet', '2', '--out', str(whole), *FAST])
    subnet = extract_subnet(backbone, (1, 0))
    reset_bn(subnet, store.batches(np.arange(len(files)), 8, mean=MEAN, std=STD))
    exported, _ = load_resnet(whole)
    torch.testing.assert_close(exported.bn1.running_mean, subnet.bn1.running_mean)
    assert not torch.allclose(exported.bn1.running_mean, load_resnet(out)[0].bn1.running_mean)


@pytest.mark.parametrize('mode', ['task', 'all', 'none'])
def test_the_tool_resets_on_other_images(mode, run, tmp_path):
    out = tmp_path / 'x.pth'
    tool.main([str(run / 'sdr.pth'), '--subnet', '0', '--bn-reset', mode, '--task', str(run / 'official'), '--out',
               str(out), *FAST])
    meta = torch.load(out)['meta']
    assert meta['bn_reset']['images'] == {'task': 12, 'all': 24, 'none': 0}[mode]


@pytest.mark.parametrize('options, message', [
    (['--path', '1,2'], r'path \(1, 2\) is outside the space'),
    (['--path', '1'], r'path \(1,\) is outside the space'),
    (['--path', 'left'], "for example 0,3,1,2, got 'left'"),
    (['--subnet', '4'], 'sub-net 4 is outside the space'),
    (['--routing', 'nothing.json'], 'there is no file nothing.json'),
    (['--subnet', '0', '--bn-reset', 'task'], 'pass --task TASK'),
    (['--subnet', '0', '--bn-images', '1'], '--bn-images: it is a whole number of at least 2'),
    (['--subnet', '0', '--format', 'keras'], "argument --format: invalid choice: 'keras'"),
    (['--subnet', '0', '--format', 'safetensors'], 'x.pth would not be known as safetensors'),
    (['--subnet', '0', '--bn-reset', 'none', '--license', ' '], 'a license is an SPDX identifier such as Apache-2.0'),
])
def test_bad_input_is_one_line_and_writes_nothing(options, message, run, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        tool.main([str(run / 'sdr.pth'), '--out', str(tmp_path / 'x.pth'), *options, *FAST])
    assert '\n' not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(run, tmp_path):
    out = tmp_path / 'x.pth'
    out.write_text('precious')
    arguments = [str(run / 'sdr.pth'), '--subnet', '0', '--bn-reset', 'none', '--out', str(out), *FAST]
    with pytest.raises(InputError, match='exists already'):
        tool.main(arguments)
    assert out.read_text() == 'precious'
    tool.main([*arguments, '--overwrite'])
    load_resnet(out)


def test_a_shell_sees_one_line_and_status_2(run, tmp_path):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', tool.__file__, str(run / 'sdr.pth'), '--path', '9,9', '--out', 'x.pth'],
        cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: path (9, 9) is outside the space')
    assert 'Traceback' not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('format, library', [
    ('mmdet', 'MMDetection'), ('torchvision', 'torchvision'), ('huggingface', 'timm'), ('torch.export', 'PyTorch')])
def test_the_tool_writes_other_formats_and_a_card(format, library, run, tmp_path, capsys):
    tool.main([str(run / 'sdr.pth'), '--subnet', '2', '--bn-reset', 'all', '--format', format, '--out',
               str(tmp_path / 'x'), '--card', str(tmp_path / 'card.md'), '--license', 'MIT', *FAST])
    printed, card = capsys.readouterr().out, (tmp_path / 'card.md').read_text()
    assert f'{library} loads it with' in printed and 'with the model card' in printed
    assert 'license: mit' in card and 'measured on images of pre-training, 24 images' in card and '`SimSiamSDR`' in card
    assert 'Images of pre-training: `pool`, read as `ImageFolder`' in card and str(run) not in card
    assert sorted(file.name for file in tmp_path.iterdir()) == ['card.md', 'x']
    if format == 'mmdet':
        tool.main([str(run / 'sdr.pth'), '--subnet', '2', '--bn-reset', 'all', '--out', str(tmp_path / 'y'), *FAST])
        files = [torch.load(tmp_path / name) for name in 'xy']
        assert files[0]['meta'] == files[1]['meta']
        assert all(torch.equal(value, files[1]['state_dict'][key]) for key, value in files[0]['state_dict'].items())
