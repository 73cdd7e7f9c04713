"""A folder in the format of the Hugging Face Hub, loaded from disk by timm."""

import json
import math
import socket

import numpy as np
import pytest
import timm
import torch
from exports import SETTINGS, close, resnet
from huggingface_hub import ModelCard
from PIL import Image

from sdr_mm.errors import InputError
from sdr_mm.export import export
from sdr_mm.export.huggingface import crop_pct
from sdr_mm.images import ImageStore, Normalization
from sdr_mm.models.eval_settings import EvalSettings

FILES = ['README.md', 'config.json', 'model.safetensors']


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is fetched: whoever opens a connection fails."""
    def refuse(*args, **options):
        raise AssertionError('a connection was opened')

    monkeypatch.setattr(socket, 'create_connection', refuse)
    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.mark.parametrize('depth, base, stem', [(18, 64, 64), (18, 16, 16), (50, 63, 64), (50, 16, 64)])
def test_timm_loads_the_folder_with_equal_features(depth, base, stem, tmp_path):
    exported = resnet(depth, base, stem)
    export(exported, tmp_path / 'folder', 'huggingface')
    assert sorted(file.name for file in (tmp_path / 'folder').iterdir()) == FILES
    network = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        close(network(images), exported, images)
    config = json.loads((tmp_path / 'folder/config.json').read_text())
    assert config['architecture'] == f'resnet{depth}' and config['num_classes'] == 0
    assert config['num_features'] == network.num_features == base * 8 * (4 if depth == 50 else 1)
    maps = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True, features_only=True)(images)
    assert [found.shape[1] for found in maps][1:] == [base * 2**stage * (4 if depth == 50 else 1) for stage in range(4)]


def test_a_head_for_classes_of_ones_own_leaves_the_backbone_as_it_is(tmp_path):
    exported = resnet(18, 16, 16)
    export(exported, tmp_path / 'folder', 'huggingface')
    network = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True, num_classes=5).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert network(images).shape == (2, 5)
        close(network.forward_head(network.forward_features(images), pre_logits=True), exported, images)


@pytest.mark.parametrize('resize, size', [(37, 32), (32, 32), (256, 224), (93, 61)])
def test_timm_prepares_images_as_this_package_does(resize, size, tmp_path):
    settings = EvalSettings(Normalization((120., 115., 100.), (60., 55., 50.)), resize=resize, size=size)
    export(resnet(18, 8, settings=settings), tmp_path / 'folder', 'huggingface')
    network = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True)
    config = timm.data.resolve_model_data_config(network)
    assert tuple(config['input_size']) == (3, size, size) and config['interpolation'] == 'bicubic'
    assert config['mean'] == pytest.approx([120 / 255, 115 / 255, 100 / 255])
    assert config['std'] == pytest.approx([60 / 255, 55 / 255, 50 / 255])
    pixels = np.random.default_rng(0).integers(0, 256, (101, 140, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'x.png')
    store = ImageStore([tmp_path / 'x.png'], resize=resize, size=size)
    (mine, ) = store.batches(np.arange(1), 1, mean=settings.normalization.mean, std=settings.normalization.std)
    theirs = timm.data.create_transform(**config)(Image.open(tmp_path / 'x.png'))
    torch.testing.assert_close(theirs, mine[0], rtol=1e-5, atol=1e-5)


def test_the_crop_gives_every_short_side_again():
    for size in range(1, 60):
        for resize in range(size, 90):
            assert math.floor(size / crop_pct(resize, size)) == resize


def test_the_hub_reads_the_front_matter_of_the_card(tmp_path):
    export(resnet(18, 8, license='MIT'), tmp_path / 'folder', 'huggingface')
    card = ModelCard.load(tmp_path / 'folder/README.md')
    assert card.data.library_name == 'timm' and card.data.license == 'mit' and 'timm' in card.data.tags
    assert card.data.pipeline_tag == 'image-feature-extraction' and card.content.count('# ResNet-18 of width 8') == 1
    assert json.loads((tmp_path / 'folder/config.json').read_text())['pretrained_cfg']['license'] == 'MIT'
    export(resnet(18, 8), tmp_path / 'unstated', 'huggingface')
    card = ModelCard.load(tmp_path / 'unstated/README.md')
    assert card.data.license is None and 'has to state the license' in card.content
    assert 'license' not in json.loads((tmp_path / 'unstated/config.json').read_text())['pretrained_cfg']


def test_a_folder_with_more_in_it_is_never_replaced(tmp_path):
    out = tmp_path / 'folder'
    export(resnet(18, 8), out, 'huggingface')
    with pytest.raises(InputError, match='exists already'):
        export(resnet(18, 8), out, 'huggingface')
    (out / '.git').mkdir()
    with pytest.raises(InputError, match=r'folder holds more than an export \(.git\), so it is not replaced'):
        export(resnet(18, 8), out, 'huggingface', overwrite=True)
    (out / '.git').rmdir()
    export(resnet(18, 4), out, 'huggingface', overwrite=True)
    assert timm.create_model(f'local-dir:{out}', pretrained=True).num_features == 32
    other = tmp_path / 'photos'
    other.mkdir()
    (other / 'a.png').touch()
    with pytest.raises(InputError, match='does not hold config.json, so it is not replaced'):
        export(resnet(18, 8), other, 'huggingface', overwrite=True)
    assert sorted(place.name for place in tmp_path.iterdir()) == ['folder', 'photos']
    # Everybody may read it, as any other file.
    assert {file.stat().st_mode for file in out.iterdir()} == {(other / 'a.png').stat().st_mode}


def test_a_network_for_other_images_than_rgb_is_loaded_as_it_is(tmp_path):
    settings = EvalSettings(Normalization((120., ), (60., )), resize=37, size=32)
    exported = resnet(18, 8, settings=settings, in_channels=4)
    export(exported, tmp_path / 'folder', 'huggingface')
    network = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True).eval()
    images = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        close(network(images), exported, images)
    assert timm.data.resolve_model_data_config(network)['mean'] == pytest.approx([120 / 255] * 4)


def test_the_package_reads_its_settings_from_the_folder(tmp_path):
    from sdr_mm.models.zoo import load_network
    export(resnet(18, 16, 16), tmp_path / 'folder', 'huggingface')
    assert load_network(str(tmp_path / 'folder/model.safetensors')).settings == SETTINGS
