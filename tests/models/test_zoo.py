"""Candidates from the zoos: their features are the input of their classifier, and their weights are those given."""

import sys

import huggingface_hub
import mmpretrain
import pytest
import timm
import torch
import torchvision
from mmpretrain.models.backbones import ResNet
from safetensors.torch import save_file
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.evaluation.features import pooled_features
from sdr_mm.models.zoo import _MMPretrainFeatures, _todays_name, load_network

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def shaken(network):
    """Random weights and statistics: an untrained network may have zeros in the wrong places."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            if 'var' in name:
                value.uniform_(0.5, 1.5)
            elif value.dim() < 2:
                value.add_(0.1 * torch.randn_like(value))
    return network.eval()


def features(network, size=64):
    images = torch.randn(2, 3, size, size)
    return images, pooled_features(network.module, [images])


@pytest.mark.parametrize('name, head', [
    ('resnet18', 'fc'), ('mobilenet_v3_small', 'classifier.3'), ('efficientnet_b0', 'classifier.1'),
    ('shufflenet_v2_x0_5', 'fc'), ('googlenet', 'fc'), ('swin_t', 'head'),
])
def test_torchvision_features_are_the_input_of_the_classifier(name, head, tmp_path):
    inside = dict(transform_input=True, init_weights=True) if name == 'googlenet' else {}
    model = shaken(torchvision.models.get_model(name, weights=None, num_classes=7, **inside))
    seen = []
    model.get_submodule(head).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    # Saved from training on two GPUs, with a classifier for other classes than ImageNet's.
    torch.save({'model': {f'module.{key}': value for key, value in model.state_dict().items()}}, tmp_path / 'x.pth')
    network = load_network(f'torchvision:{name}@{tmp_path / "x.pth"}')
    assert network.name == f'torchvision:{name}@x.pth' and not network.module.training
    assert network.settings.normalization == (pytest.approx(IMAGENET[0]), pytest.approx(IMAGENET[1]))
    images, found = features(network)
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(found, seen[0])
    extra = sum(p.numel() for key, p in model.named_parameters() if key.startswith((f'{head}.', 'aux')))
    assert network.num_parameters == sum(p.numel() for p in model.parameters()) - extra


def test_squeezenet_without_a_linear_layer_gives_its_pooled_map(tmp_path):
    model = torchvision.models.squeezenet1_1().eval()
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    images, found = features(load_network(f'torchvision:squeezenet1_1@{tmp_path / "x.pth"}'))
    with torch.no_grad():
        torch.testing.assert_close(found, model.features(images).mean((2, 3)))


def test_the_names_in_torchvisions_own_densenet_files_are_known(tmp_path):
    model = torchvision.models.densenet121()
    old = {}
    for key, value in model.state_dict().items():
        for part in ('norm', 'conv'):
            for number in '12':
                key = key.replace(f'.{part}{number}.', f'.{part}.{number}.') if 'denselayer' in key else key
        if 'tracked' not in key:
            old[key] = value
    assert old.keys() != model.state_dict().keys()
    torch.save(old, tmp_path / 'x.pth')
    network = load_network(f'torchvision:densenet121@{tmp_path / "x.pth"}')
    assert torch.equal(network.module.module.features.denseblock1.denselayer2.conv1.weight,
                       model.features.denseblock1.denselayer2.conv1.weight)


def test_the_names_in_torchvisions_own_vit_files_are_known():
    with torch.device('meta'):
        names = list(torchvision.models.vit_b_32().state_dict())
    old = [key.replace('mlp.0', 'mlp.linear_1').replace('mlp.3', 'mlp.linear_2') for key in names]
    assert old != names and [_todays_name(key) for key in old] == names == [_todays_name(key) for key in names]


@pytest.mark.parametrize('name', ['resnet18', 'mobilenetv3_small_050', 'convnext_atto', 'test_vit'])
def test_timm_features_are_the_input_of_the_classifier(name, tmp_path):
    model = shaken(timm.create_model(name, num_classes=7))
    size = model.pretrained_cfg['input_size'][1] if name == 'test_vit' else 64
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    network = load_network(f'timm:{name}@{tmp_path / "model.safetensors"}')
    config = model.pretrained_cfg
    assert network.settings.normalization.mean == pytest.approx([255 * x for x in config['mean']])
    assert network.settings.normalization.std == pytest.approx([255 * x for x in config['std']])
    images, found = features(network, size)
    with torch.no_grad():
        torch.testing.assert_close(found, model.forward_head(model.forward_features(images), pre_logits=True))


def test_timms_resnet_file_is_read_as_a_plain_file_too(tmp_path):
    model = shaken(timm.create_model('resnet18'))
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    named, plain = load_network(f'timm:resnet18@{tmp_path / "x.pth"}'), load_network(str(tmp_path / 'x.pth'))
    assert plain.name == 'x.pth' and isinstance(plain.module, ResNet)
    images, found = features(plain)
    torch.testing.assert_close(pooled_features(named.module, [images]), found)
    assert plain.num_parameters == named.num_parameters


@pytest.mark.parametrize('name, order, mean', [
    ('resnet18_8xb32_in1k', [0, 1, 2], (123.675, 116.28, 103.53)),
    # Its images come as RGB arrays, and its config converts nothing.
    ('resnet18_8xb16_cifar10', [0, 1, 2], (125.307, 122.961, 113.8575)),
    # Its images come from files, blue first, and its config converts nothing.
    ('mobilevit-xxsmall_3rdparty_in1k', [2, 1, 0], (0, 0, 0)),
])
def test_mmpretrain_classifiers_give_what_their_neck_pools_of_rgb_images(name, order, mean, tmp_path):
    model = shaken(mmpretrain.get_model(name))
    torch.save(dict(state_dict={**model.state_dict(), 'data_preprocessor.x': torch.ones(1)}), tmp_path / 'x.pth')
    network = load_network(f'mmpretrain:{name}@{tmp_path / "x.pth"}')
    images, found = features(network)
    with torch.no_grad():
        torch.testing.assert_close(found, model.extract_feat(images[:, order])[-1])
    assert network.settings.normalization.mean == pytest.approx(mean)
    assert network.num_parameters == sum(p.numel() for p in model.backbone.parameters())


def test_the_neck_of_a_self_supervised_network_is_no_part_of_it(tmp_path):
    name = 'simsiam_resnet50_8xb32-coslr-100e_in1k'
    backbone = ResNet(50).state_dict()
    weights = {**{f'backbone.{key}': value for key, value in backbone.items()}, 'neck.fc0.weight': torch.ones(1),
               'head.predictor.fc0.weight': torch.ones(1)}
    torch.save(dict(state_dict=weights), tmp_path / 'x.pth')
    network = load_network(f'mmpretrain:{name}@{tmp_path / "x.pth"}')
    assert network.num_parameters == 23_508_032 and features(network, 32)[1].shape == (2, 2048)


def test_a_backbone_that_ends_in_the_classifier_loses_it(tmp_path):
    name = 'inception-v3_3rdparty_8xb32_in1k'
    model = shaken(mmpretrain.get_model(name))
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    images, found = features(load_network(f'mmpretrain:{name}@{tmp_path / "x.pth"}'), 75)
    seen = []
    model.backbone.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.extract_feat(images)
    torch.testing.assert_close(found, seen[0])


@pytest.mark.parametrize('cls_token', [True, False])
def test_tokens_become_features(cls_token):
    class Tokens(nn.Module):
        """What masked autoencoders of MMPretrain give: (N, tokens, C)."""

        def __init__(self):
            super().__init__()
            self.backbone = nn.Module()
            self.backbone.cls_token = nn.Parameter(torch.zeros(1)) if cls_token else None

        def extract_feat(self, images):
            return images.flatten(2).transpose(1, 2)

    x = torch.randn(2, 3, 4, 4)
    expected = x[:, :, 0, 0] if cls_token else x.mean((2, 3))
    torch.testing.assert_close(_MMPretrainFeatures(Tokens(), flip=False)(x), expected)


def test_a_size_that_the_network_cannot_take_is_one_line(tmp_path):
    name = 'vit_tiny_patch16_224'
    torch.save(timm.create_model(name).state_dict(), tmp_path / 'x.pth')
    network = load_network(f'timm:{name}@{tmp_path / "x.pth"}')
    with pytest.raises(InputError, match=rf'{name}@x\.pth cannot take images of 64×48 pixels \(.+\): choose') as caught:
        network.module(torch.zeros(1, 3, 48, 64))
    assert '\n' not in str(caught.value)


def _lacking(folder):
    state = torchvision.models.resnet18().state_dict()
    del state['layer2.0.conv1.weight']
    torch.save(state, folder / 'x.pth')
    return f'torchvision:resnet18@{folder / "x.pth"}'


def _other(folder):
    torch.save(torchvision.models.resnet34().state_dict(), folder / 'x.pth')
    return f'timm:resnet18@{folder / "x.pth"}'


def _not_mmpretrain(folder):
    torch.save(ResNet(18).state_dict(), folder / 'x.pth')
    return f'mmpretrain:resnet18_8xb32_in1k@{folder / "x.pth"}'


@pytest.mark.parametrize('spec, message', [
    ('torchvision:resnet19', "torchvision has no classification network 'resnet19': did you mean resnet"),
    ('torchvision:fasterrcnn_resnet50_fpn', 'torchvision has no classification network'),
    ('timm:resnet18x', "timm has no network 'resnet18x': did you mean resnet18"),
    ('timm:resnet18.nonsense', r'Invalid pretrained tag.*: timm has resnet18 as resnet18\.'),
    ('timm:coatnet_0_224', 'timm has no weights for coatnet_0_224: give them as timm:coatnet_0_224@FILE'),
    ('mmpretrain:resnet19', "MMPretrain has no network 'resnet19': did you mean"),
    ('mmpretrain:blip-base_3rdparty_retrieval', r'MMPretrain cannot build blip-base_3rdparty_retrieval here \(.*multi'),
    ('torchvision:', 'must be torchvision:NAME or torchvision:NAME@FILE'),
    ('timm:resnet18@', 'must be timm:NAME or'),
    ('torchvision:resnet18@gone.pth', 'resnet18@gone.pth: there is no file gone.pth'),
    ('gone.pth', 'there is no file gone.pth'),
    (_lacking, r'lacks 1 weights of this ResNet: layer2\.0\.conv1\.weight'),
    (_other, r'has unexpected \d+ weights of this ResNet: layer1\.2'),
    (_not_mmpretrain, r'lacks \d+ weights of this ImageClassifier: backbone\.conv1\.weight'),
])
def test_what_cannot_be_had_is_one_line(spec, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        load_network(spec if isinstance(spec, str) else spec(tmp_path), '--candidates')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('spec', ['torchvision:resnet18', 'timm:resnet18', 'mmpretrain:resnet18_8xb32_in1k'])
def test_weights_that_cannot_be_downloaded_are_never_random_ones(spec, monkeypatch, tmp_path):
    # A proxy that nobody listens at, and empty caches.
    for name in ('http_proxy', 'https_proxy', 'HTTPS_PROXY', 'HTTP_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    with pytest.raises(InputError, match=f'--candidates {spec}: the pre-trained weights cannot be downloaded .*: give '
                                         f'them as {spec}@FILE$') as caught:
        load_network(spec, '--candidates')
    assert '\n' not in str(caught.value)


def test_without_timm_its_networks_name_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(InputError, match=r'--candidates timm:resnet18 needs the package timm.*pip install'):
        load_network('timm:resnet18', '--candidates')
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    (tmp_path / 'x.safetensors').write_bytes(b'')
    with pytest.raises(InputError, match='needs the package safetensors'):
        load_network(str(tmp_path / 'x.safetensors'))


def test_trouble_of_the_device_is_not_called_one_of_the_size(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'x.pth')
    network = load_network(f'torchvision:resnet18@{tmp_path / "x.pth"}')

    class Broken(nn.Module):

        def forward(self, x):
            raise RuntimeError('CUDA error: an illegal memory access was encountered')

    network.module.module.conv1 = Broken()
    with pytest.raises(RuntimeError, match='CUDA error') as caught:
        network.module(torch.zeros(1, 3, 32, 32))
    assert not isinstance(caught.value, InputError)
