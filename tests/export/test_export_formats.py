"""Each format of an export, loaded by the library that it is for."""

import json
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from exports import SETTINGS, close, no_resnet, resnet, scatter, wanted
from mmpretrain.registry import MODELS
from repository import ROOT
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models import resnet as of_timm

from sdr_mm.errors import InputError
from sdr_mm.export import FORMATS, export, graphs, how_to_load, torchvision_resnet
from sdr_mm.images import IMAGENET
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint, read_state_dict
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.zoo import load_network

SHAPES = [(18, 64, 64), (18, 60, 64), (18, 16, 16), (18, 16, 8), (50, 64, 64), (50, 63, 64), (50, 60, 64), (50, 16, 64)]
"""Depth, base width and stem: the three layouts of the paper, those of the small configs, and odd ones."""
IMAGES = torch.randn(3, 3, 33, 47, generator=torch.Generator().manual_seed(5))
TIMM = {18: (of_timm.BasicBlock, (2, 2, 2, 2)), 50: (of_timm.Bottleneck, (3, 4, 6, 3))}


def name_of(format):
    return {'safetensors': 'x.safetensors', 'huggingface': 'folder'}.get(format, 'x.out')


def features(network, images=IMAGES):
    network.eval()  # MMPretrain's returns nothing there.
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize('depth, base, stem', SHAPES)
def test_torchvision_and_timm_give_the_same_features_at_any_width(depth, base, stem, tmp_path):
    exported = resnet(depth, base, stem)
    export(exported, tmp_path / 'torchvision.pth', 'torchvision')
    state = torch.load(tmp_path / 'torchvision.pth')
    network = torchvision_resnet(depth, base, stem)
    network.load_state_dict(state)
    close(features(network), exported, IMAGES)
    if (base, stem) == (64, 64):
        stock = getattr(torchvision.models, f'resnet{depth}')()
        stock.fc = torch.nn.Identity()
        stock.load_state_dict(state)
        close(features(stock), exported, IMAGES)
    export(exported, tmp_path / 'timm.pth', 'timm')
    network = of_timm.ResNet(*TIMM[depth], num_classes=0, channels=[base * 2**stage for stage in range(4)])
    network.load_state_dict(torch.load(tmp_path / 'timm.pth'))
    close(features(network), exported, IMAGES)


def test_torchvisions_class_is_its_own_at_its_own_width_and_takes_a_classifier():
    for depth in (18, 34, 50, 101, 152):
        with torch.device('meta'):
            mine, stock = torchvision_resnet(depth, num_classes=1000), getattr(torchvision.models, f'resnet{depth}')()
        assert str(mine).partition('(')[2] == str(stock).partition('(')[2]
        assert isinstance(mine, torchvision.models.ResNet)
    assert torchvision_resnet(18, 8, num_classes=7)(IMAGES).shape == (3, 7)
    with pytest.raises(InputError, match='got depth=19, base_channels=64'):
        torchvision_resnet(19)


def test_what_fills_the_stem_of_timm_stays_zero_in_training(tmp_path):
    export(resnet(50, 8, 8), tmp_path / 'x.pth', 'timm')
    network = of_timm.ResNet(*TIMM[50], num_classes=3, channels=(8, 16, 32, 64))
    network.load_state_dict(torch.load(tmp_path / 'x.pth'), strict=False)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    before = network.conv1.weight[:8].clone()
    for _ in range(2):
        optimizer.zero_grad()
        network(IMAGES).square().mean().backward()
        optimizer.step()
    assert not network.conv1.weight[8:].any() and not network.bn1.bias[8:].any()
    assert not network.layer1[0].conv1.weight[:, 8:].any()
    assert not torch.equal(network.conv1.weight[:8], before)


def test_safetensors_hold_the_weights_and_what_is_known(tmp_path):
    exported = resnet(18, 16, 16, license='CC-BY-4.0')
    export(exported, tmp_path / 'x.safetensors', 'safetensors')
    network = MODELS.build(exported.config)
    network.load_state_dict(load_file(tmp_path / 'x.safetensors'))
    close(features(network)[-1].mean((2, 3)), exported, IMAGES)
    with safe_open(tmp_path / 'x.safetensors', 'pt') as file:
        metadata = file.metadata()
    assert metadata['format'] == 'pt' and all(isinstance(value, str) for value in metadata.values())
    record = json.loads(metadata['sdr_mm'])
    assert record['bn_reset']['statistics'] == 'cluster 7' and record['license'] == 'CC-BY-4.0'
    assert record['routing'] == dict(task='sweet_home', score=87.25) and record['backbone']['base_channels'] == 16


@pytest.mark.parametrize('format', ['mmpretrain', 'mmdet', 'safetensors', 'huggingface', 'torchvision', 'timm'])
def test_this_package_reads_it_back(format, tmp_path):
    exported = resnet(18, 16, 16)
    out = tmp_path / name_of(format)
    export(exported, out, format)
    file = out / 'model.safetensors' if out.is_dir() else out
    network, info = load_resnet(file)
    close(features(network)[-1].mean((2, 3)), exported, IMAGES)
    # A bare state dict cannot say how it is fed.
    assert info['settings'] == (EvalSettings(IMAGENET) if format in ('torchvision', 'timm') else SETTINGS)
    if format in ('timm', 'huggingface'):
        state = read_state_dict(file)
        network = of_timm.ResNet(*TIMM[18], num_classes=0, channels=(16, 32, 64, 128))
        network.load_state_dict(state)
        close(features(network), exported, IMAGES)
    if format == 'mmpretrain':
        close(features(load_network(str(file)).module)[-1].mean((2, 3)), exported, IMAGES)


def test_metadata_of_others_and_odd_ones_are_no_settings(tmp_path):
    from safetensors.torch import save_file
    state = dict(resnet(18, 8).state)
    for number, text in enumerate(('[1]', '"x"', '{"settings": 3}', '{"settings": {"evaluation": []}}')):
        save_file(state, tmp_path / f'{number}.safetensors', metadata=dict(sdr_mm=text))
        assert load_resnet(tmp_path / f'{number}.safetensors')[1]['settings'] == EvalSettings(IMAGENET)
    for text, message in (('{', 'cannot be read as a checkpoint'), ('[' * 100_000, 'cannot be read as a checkpoint'),
                          ('{"settings": {"evaluation": {"size": -1}}}', 'size=-1')):
        save_file(state, tmp_path / 'odd.safetensors', metadata=dict(sdr_mm=text))
        with pytest.raises(InputError, match=message) as caught:
            load_resnet(tmp_path / 'odd.safetensors')
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('make', [
    lambda: resnet(18, 16, 16), no_resnet, lambda: resnet(50, 4, 8, style='caffe', dilations=(1, 1, 2, 2))],
    ids=['18', 'no ResNet', 'caffe 50'])
def test_onnx_gives_the_same_features_for_any_batch(make, tmp_path):
    exported = make()
    export(exported, tmp_path / 'x.onnx', 'onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'x.onnx')
    assert [value.name for value in session.get_inputs()] == ['images'] and session.get_outputs()[0].name == 'features'
    for batch in (1, 2, 9):
        images = torch.randn(batch, 3, 32, 32)
        close(torch.from_numpy(session.run(None, {'images': images.numpy()})[0]), exported, images)
    assert [file.name for file in tmp_path.iterdir()] == ['x.onnx'], 'the weights are inside'
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / 'x.onnx').metadata_props}
    assert json.loads(metadata['sdr_mm'])['settings'] == SETTINGS.record() and set(metadata) == {'sdr_mm'}
    content = (tmp_path / 'x.onnx').read_bytes()
    assert not any(place in content for place in (b'site-packages', str(ROOT).encode(), b'forward'))


@pytest.mark.parametrize('make', [lambda: resnet(18, 16, 16), lambda: resnet(50, 8, 12), no_resnet],
                         ids=['18', '50', 'no ResNet'])
def test_torch_export_gives_the_same_features_for_any_batch(make, tmp_path):
    exported = make()
    export(exported, tmp_path / 'x.pt2', 'torch.export')
    extra = {'sdr_mm.json': ''}
    network = torch.export.load(tmp_path / 'x.pt2', extra_files=extra).module()
    for batch in (1, 2, 9):
        images = torch.randn(batch, 3, 32, 32)
        close(network(images), exported, images)
    assert json.loads(extra['sdr_mm.json'])['settings'] == SETTINGS.record()
    with zipfile.ZipFile(tmp_path / 'x.pt2') as archive:
        content = b''.join(archive.read(name) for name in archive.namelist())
    assert b'conv2d' in content and not any(
        place in content for place in (b'site-packages', str(ROOT).encode(), b'stack_trace'))


LINES = [
    *((18, 16, 16, format) for format in FORMATS if format != 'mmdet'),
    *((18, 64, 64, format) for format in ('mmpretrain', 'torchvision', 'safetensors', 'huggingface')),
    *((50, 8, 64, format) for format in ('mmpretrain', 'torchvision', 'timm', 'safetensors'))]


@pytest.mark.parametrize('depth, base, stem, format', LINES)
def test_the_lines_that_are_printed_load_it(depth, base, stem, format, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported = resnet(depth, base, stem)
    export(exported, name_of(format), format)
    images = torch.randn(2, 3, 32, 32)
    lines = how_to_load(exported, format, name_of(format))
    classes = {'torchvision', *(['timm'] if stem == 64 else [])}
    assert set(lines) == {
        'mmpretrain': {'MMPretrain', 'MMDetection', *classes}, 'torchvision': classes, 'timm': {'timm'},
        'safetensors': {'MMPretrain', *classes}, 'huggingface': {'timm'}, 'onnx': {'ONNX Runtime'},
        'torch.export': {'PyTorch'}}[format]
    for library, text in lines.items():
        if text.startswith(('backbone=', 'data_preprocessor=')):
            config = eval(f'dict({text})')['backbone']
            if library == 'MMPretrain':
                network = MODELS.build(config)
                network.init_weights()
                close(features(network, images)[-1].mean((2, 3)), exported, images)
            continue
        names = dict(images=images.numpy() if format == 'onnx' else images)
        with torch.no_grad():
            exec(text, names)
            found = names['features'] if 'features' in names else names['network'](images)
        found = torch.as_tensor(found[-1].mean((2, 3)) if isinstance(found, tuple) else found)
        close(found, exported, images)


@pytest.mark.ops
@pytest.mark.parametrize('depth, base, stem', [(18, 16, 16), (50, 63, 64), (50, 64, 64)])
def test_mmdetection_builds_the_lines_that_are_printed(depth, base, stem, tmp_path):
    from mmdet.registry import MODELS as DETECTION
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    exported = resnet(depth, base, stem)
    export(exported, tmp_path / 'x.pth', 'mmdet')
    (text, ) = how_to_load(exported, 'mmdet', tmp_path / 'x.pth').values()
    parts = eval(f'dict({text})')
    network = DETECTION.build(dict(parts['backbone'], _scope_='mmdet'))
    network.init_weights()
    found = features(network)
    assert len(found) == 4 and [value.shape[1] for value in found] == parts['neck']['in_channels']
    close(found[-1].mean((2, 3)), exported, IMAGES)
    DETECTION.build(dict(parts['neck'], _scope_='mmdet'))(found)
    preprocessor = DETECTION.build(dict(parts['data_preprocessor'], _scope_='mmdet'))
    blue_first = torch.tensor(np.stack([np.full((32, 32), value) for value in (1, 2, 3)]), dtype=torch.uint8)
    batch = preprocessor(dict(inputs=[blue_first]))['inputs']
    torch.testing.assert_close(batch[0, :, 0, 0], (torch.tensor([3., 2., 1.]) - torch.tensor([120., 115., 100.]))
                               / torch.tensor([60., 55., 50.]))


@pytest.mark.parametrize('change, message', [
    (dict(style='caffe', depth=50), "style='caffe'"), (dict(dilations=(1, 1, 1, 2)), r'dilations=\(1, 1, 1, 2\)'),
    (dict(strides=(1, 2, 2, 1)), r'strides=\(1, 2, 2, 1\)'), (dict(out_indices=(0, 1)), r'out_indices=\(0, 1\)')])
def test_a_resnet_whose_features_would_differ_is_refused(change, message, tmp_path):
    exported = resnet(**change)
    for format in ('torchvision', 'timm', 'huggingface'):
        with pytest.raises(InputError, match=f'the format {format} is for ResNets with the usual strides.*{message}'):
            export(exported, tmp_path / 'x', format)
    assert not list(tmp_path.iterdir())
    export(exported, tmp_path / 'x.pth', 'mmdet')
    assert 'torchvision' not in how_to_load(exported, 'safetensors', 'x.safetensors')


@pytest.mark.parametrize('depth, base, stem', [(18, 64, 16), (50, 16, 16), (18, 16, 80)])
def test_a_stem_that_timm_cannot_have_is_one_line(depth, base, stem, tmp_path):
    exported = resnet(depth, base, stem)
    for format in ('timm', 'huggingface'):
        with pytest.raises(InputError, match=f'timm has no ResNet-{depth} with a stem of {stem} and a base width of'):
            export(exported, tmp_path / 'x', format)
    assert not list(tmp_path.iterdir())
    export(exported, tmp_path / 'x.pth', 'torchvision')


def test_another_backbone_leaves_where_no_resnet_is_needed(tmp_path):
    exported = no_resnet()
    for format in ('mmdet', 'torchvision', 'timm', 'huggingface'):
        with pytest.raises(InputError, match=f'the format {format} is for ResNets, and this network is a OneConv'):
            export(exported, tmp_path / 'x', format)
    assert not list(tmp_path.iterdir())
    for format in ('mmpretrain', 'safetensors'):
        export(exported, tmp_path / name_of(format), format, card=tmp_path / f'{format}.md')
        state = read_state_dict(tmp_path / name_of(format))
        assert all(torch.equal(value, state[key]) for key, value in exported.network.state_dict().items())


@pytest.mark.parametrize('format, package, extra', [
    ('safetensors', 'safetensors', 'zoo'), ('timm', 'timm', 'zoo'), ('huggingface', 'timm', 'zoo'),
    ('huggingface', 'safetensors', 'zoo'), ('onnx', 'onnx', 'export'), ('onnx', 'onnxscript', 'export')])
def test_a_missing_package_is_one_line(format, package, extra, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'the format {format} needs the package {package}, which is not installed: '
                                         rf'pip install "sdr-mm\[{extra}\]"') as caught:
        export(resnet(18, 8), tmp_path / name_of(format), format)
    assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())


def test_onnx_is_written_without_onnx_runtime_too(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    exported = no_resnet()
    export(exported, tmp_path / 'x.onnx', 'onnx')
    monkeypatch.undo()
    found = onnxruntime.InferenceSession(tmp_path / 'x.onnx').run(None, {'images': exported.noise(2).numpy()})
    close(torch.from_numpy(found[0]), exported, exported.noise(2))


@pytest.mark.parametrize('format', FORMATS)
def test_nothing_is_overwritten_unasked(format, tmp_path):
    exported = no_resnet() if format in ('onnx', 'torch.export') else resnet(18, 8)
    out = tmp_path / name_of(format)
    if format == 'huggingface':
        out.mkdir()
        (out / 'config.json').write_text('precious')
    else:
        out.write_text('precious')
    for options in ({}, dict(card=tmp_path / 'card.md')):
        with pytest.raises(InputError, match='exists already'):
            export(exported, out, format, **options)
    assert (out / 'config.json' if out.is_dir() else out).read_text() == 'precious'
    assert [file.name for file in tmp_path.iterdir()] == [out.name]
    export(exported, out, format, overwrite=True)
    assert sorted(file.name for file in out.iterdir()) == ['README.md', 'config.json', 'model.safetensors'] \
        if out.is_dir() else b'precious' not in out.read_bytes()
    (tmp_path / 'card.md').write_text('a card of mine')
    with pytest.raises(InputError, match='card.md exists already'):
        export(exported, tmp_path / f'new{out.suffix}', format, card=tmp_path / 'card.md')
    assert not (tmp_path / f'new{out.suffix}').exists()


@pytest.mark.parametrize('format', [format for format in FORMATS if format not in ('mmpretrain', 'mmdet')])
def test_what_does_not_come_back_leaves_nothing(format, tmp_path, monkeypatch):
    exported, other = resnet(18, 8), resnet(18, 8)
    scatter(other.network, seed=1)
    if format == 'safetensors':
        monkeypatch.setattr('sdr_mm.export.weight_files.read_state_dict', lambda file: other.state)
    elif format in ('onnx', 'torch.export'):
        monkeypatch.setattr('sdr_mm.export.graphs._program', lambda exported, made=graphs._program: made(other))
    else:
        exported.features.load_state_dict(other.features.state_dict())
    with pytest.raises(RuntimeError, match='does not give the features|did not come back'):
        export(exported, tmp_path / name_of(format), format, card=tmp_path / 'card.md')
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_leave_in_no_format(tmp_path):
    exported = resnet(18, 8)
    exported.network.layer3[0].conv1.weight.data[0] = float('nan')
    for format in FORMATS:
        with pytest.raises(InputError, match='layer3.0.conv1.weight is not finite'):
            export(exported, tmp_path / name_of(format), format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('out, format, card, message', [
    ('x', 'tensorflow', None, "there is no format 'tensorflow': choose one of mmpretrain, mmdet, torchvision, timm"),
    ('x.pth', 'safetensors', None, 'give a name that ends in .safetensors'),
    ('x', 'timm', 'x', 'x cannot be the export and its model card'),
    ('file/x', 'onnx', None, 'file is no folder'), ('file/x', 'huggingface', None, 'file is no folder'),
    ('x', 'timm', 'file/x', 'file is no folder')])
def test_bad_places_are_one_line_before_anything_is_written(out, format, card, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=message) as caught:
        export(resnet(18, 8), out, format, card=card)
    assert '\n' not in str(caught.value) and [file.name for file in tmp_path.iterdir()] == ['file']


def test_images_of_other_channels_leave_too(tmp_path):
    exported = resnet(18, 8, in_channels=4)
    images = torch.randn(2, 4, 32, 32)
    export(exported, tmp_path / 'torchvision.pth', 'torchvision')
    network = torchvision_resnet(18, 8, in_channels=4)
    network.load_state_dict(torch.load(tmp_path / 'torchvision.pth'))
    close(features(network, images), exported, images)
    export(exported, tmp_path / 'x.pt2', 'torch.export')
    with pytest.raises(InputError, match='the normalization has 3 values, and the network takes images of 4 channel'):
        export(exported, tmp_path / 'folder', 'huggingface')
    assert read_checkpoint(tmp_path / 'torchvision.pth')['conv1.weight'].shape[1] == 4
    assert wanted(exported, images).shape == (2, 64)
