"""Crops that DALI makes of batches of JPEGs, against Pillow's."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import exif, save
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from PIL import Image
from repository import ROOT
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader

from sdr_mm.datasets import ClusterDataset, CropViews
from sdr_mm.errors import InputError
from sdr_mm.images.crops import EncodedCrops
from sdr_mm.images.dali import DaliCrops, dali_crops
from sdr_mm.models import BatchedColors
from sdr_mm.registry import MODELS

pytestmark = pytest.mark.dali
LOAD = [dict(type='sdr_mm.LoadImage')]
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two real photos as JPEGs, one of them gray, and one more pixel in one direction."""
    folder = tmp_path_factory.mktemp('photos')
    first, second = map(Image.fromarray, load_sample_images().images)
    return [save(first.resize((501, 375)), folder / 'a.jpg', quality=92),
            save(second.resize((800, 601)).convert('L'), folder / 'b.jpg', quality=92, progressive=True)]


@pytest.fixture
def no_pillow(monkeypatch):
    """Nothing stands in for DALI where it fails."""
    monkeypatch.delattr(EncodedCrops, 'decode')


def crops_of(path, seed=0, decoder='dali', size=100, **options):
    np.random.seed(seed)
    views = CropViews(LOAD, size, reducing_gap=float('inf'), decoder=decoder, **options)
    return views(dict(img_path=str(path)))


def as_images(views, number=0):
    """(views, size, size, 3) of one image of what a decoder gives."""
    return torch.stack([view[number] for view in views]).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [32, 224])
def test_crops_are_pillows_to_a_level_but_for_their_rim(photos, no_pillow, interpolation, size):
    found = [crops_of(photos[seed % 2], seed, size=size, interpolation=interpolation) for seed in range(12)]
    batches = DaliCrops(CPU)([one['crops'] for one in found])
    assert [(batch.shape, batch.dtype) for batch in batches] == [((12, 3, size, size), torch.uint8)] * 2
    for seed, results in enumerate(found):
        pillow = crops_of(photos[seed % 2], seed, 'pillow', size, interpolation=interpolation)
        assert (results['ori_shape'], results['img_shape']) == (pillow['ori_shape'], pillow['img_shape'])
        assert 'img' not in results and 'crops' not in pillow
        difference = np.abs(as_images(batches, seed).astype(int) - np.array(pillow['img']))
        # At its rim Pillow leaves out what of a filter is outside, DALI repeats the last pixels.
        assert difference[:, 2:-2, 2:-2].max() <= (1 if interpolation == 'bilinear' else 5)
        assert difference.mean() < 0.25 and difference.max() <= 20


def test_other_files_are_cut_by_pillow(photos, tmp_path):
    photo = Image.open(photos[0])
    files = [save(photo, tmp_path / 'a.png'), save(photo.convert('CMYK'), tmp_path / 'cmyk.jpg'),
             save(photo, tmp_path / 'rgb.jpg', keep_rgb=True),
             save(photo, tmp_path / 'turned.jpg', exif=b'Exif\0\0' + exif(6))]
    trailing = tmp_path / 'trailing.jpg'
    trailing.write_bytes(photos[0].read_bytes() + b'what a camera appends')
    for path in [*files, trailing]:
        found, pillow = crops_of(path), crops_of(path, decoder='pillow')
        assert np.array_equal(found['crops'], pillow['img']) and found['ori_shape'] == pillow['ori_shape']
    upright = save(photo, tmp_path / 'upright.jpg', exif=b'Exif\0\0' + exif(1))
    assert isinstance(crops_of(upright)['crops'], EncodedCrops)
    np.random.seed(0)
    small = CropViews([dict(type='sdr_mm.LoadImage', max_pixels=500 * 375)], 32, decoder='dali')
    with pytest.raises(InputError, match='501 x 375 pixels are more than max_pixels=187500'):
        small(dict(img_path=str(photos[0])))


def test_damaged_files_are_found_where_they_are_read(photos, tmp_path):
    data = photos[0].read_bytes()
    for name, content in (('cut', data[:20_000]), ('empty', b''), ('text', b'no image'), ('header', data[:4])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f'{name} cannot be decoded'):
            crops_of(tmp_path / name)
        skipping = CropViews([dict(type='sdr_mm.LoadImage', on_error='skip')], 32, decoder='dali')
        assert skipping(dict(img_path=str(tmp_path / name))) is None
    with pytest.raises(InputError, match='missing.jpg cannot be decoded'):
        crops_of(tmp_path / 'missing.jpg')


def test_pillow_takes_over_where_dali_fails_and_says_which_file_is_damaged(photos, tmp_path):
    decoder, sound = DaliCrops(CPU), crops_of(photos[0], 1)['crops']
    odd = replace(crops_of(photos[1], 2)['crops'], data=np.frombuffer(b'\xff\xd8\xff what only Pillow reads', np.uint8))
    batches = decoder([sound, odd])
    for number, (path, seed) in enumerate(((photos[0], 1), (photos[1], 2))):
        assert np.array_equal(as_images(batches, number), crops_of(path, seed, 'pillow')['img'])
    (tmp_path / 'damaged.jpg').write_bytes(photos[0].read_bytes()[:5000])
    with pytest.raises(InputError, match='damaged.jpg cannot be decoded') as error:
        decoder([sound, replace(odd, path=str(tmp_path / 'damaged.jpg'))])
    assert '\n' not in str(error.value)
    # It goes on, with larger and smaller batches and other crops too.
    for count in (1, 5, 2):
        again = decoder([sound] * count)
        assert len(again[0]) == count and np.array_equal(as_images(again), as_images(decoder([sound])))
    assert decoder([crops_of(photos[0], size=32, num_views=3)['crops']])[2].shape == (1, 3, 32, 32)


@pytest.mark.parametrize('name', ['imagenet_224px_batched', 'imagenet_224px_byol_batched'])
def test_a_whole_batch_of_a_config_differs_by_the_decoder_only(photos, no_pillow, tmp_path, name):
    init_default_scope('sdr_mm')
    for number, path in enumerate(photos):
        (tmp_path / f'{number}.jpg').write_bytes(path.read_bytes())
    save(Image.open(photos[0]), tmp_path / '2.png')
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / f'{name}.py')
    # Without the colors, which may enlarge a difference of a level.
    plain = dict(jitter_prob=0.0, gray_prob=0.0, solarize_prob=0.0, hue=0.0)
    preprocessor = MODELS.build({**cfg.data_preprocessor, **plain})
    triples = [(image, -1, 100 + image) for image in (2, 0, 1, 0, 2)]
    found = {}
    for decoder, workers in (('pillow', 0), ('dali', 0), ('dali', 2)):
        cfg.merge_from_dict({'train_pipeline.0.decoder': decoder, 'train_pipeline.0.reducing_gap': float('inf')})
        images = dict(type='ImageFolder', data_root=str(tmp_path), pipeline=cfg.train_pipeline)
        loader = DataLoader(ClusterDataset(images), batch_sampler=[triples], num_workers=workers,
                            collate_fn=default_collate)
        data = next(iter(loader))
        assert ('inputs' in data) == (decoder == 'pillow')
        found[decoder, workers] = preprocessor(data)
    for number in range(2):
        pillow, dali, worked = (result['inputs'][number] for result in found.values())
        assert torch.equal(dali, worked) and not torch.equal(dali, pillow)
        # Normalized by the deviations of ImageNet, some 58 levels.
        assert (dali - pillow).abs().max() < 20 / 57 and (dali - pillow).abs().mean() < 0.25 / 57
        assert torch.equal(dali[[0, 4]], pillow[[0, 4]])  # the PNG
    assert all('crops' not in sample for sample in found['dali', 2]['data_samples'])


@pytest.mark.parametrize('device, number', [('cpu', None), ('cuda', 3), ('cuda:1', 1)])
def test_dali_works_on_the_device_of_the_model(monkeypatch, photos, device, number):
    class Built(Exception):
        pass

    def build(batch, threads, device_id, **options):
        raise Built(device_id)

    monkeypatch.setattr('nvidia.dali.Pipeline', build)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 3)
    with pytest.raises(Built) as built:
        DaliCrops(torch.device(device))([crops_of(photos[0])['crops']])
    assert built.value.args == (number, )


def test_one_line_says_what_is_missing(monkeypatch, photos):
    with pytest.raises(InputError, match="'pillow' or 'dali', got 'gpu'"):
        CropViews(LOAD, 32, decoder='gpu')
    with pytest.raises(InputError, match="let the meta_keys of 'PackInputs' have 'crops'"):
        images = dict(type='ImageFolder', data_root=str(photos[0].parent), pipeline=[
            dict(type='CropViews', transforms=LOAD, size=32, decoder='dali'), dict(type='PackInputs')])
        BatchedColors()(default_collate([ClusterDataset(images)[0, -1, 5]]))
    for hidden in ('nvidia.dali', 'nvidia'):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, hidden, None)
            if hidden == 'nvidia':
                without.delitem(sys.modules, 'nvidia.dali', raising=False)
            with pytest.raises(InputError, match=r"decoder='dali' needs NVIDIA DALI: pip install 'sdr-mm\[dali\]'"):
                CropViews(LOAD, 32, decoder='dali')
    assert dali_crops(CPU) is dali_crops(torch.device('cpu')), 'the pipelines of a device are made once'
