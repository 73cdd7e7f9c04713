"""Crops of all views from one decoding, against MMPretrain's crops and Pillow's full-size decoding."""

import numpy as np
import pytest
import torch
from image_files import bad_images, save
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image
from repository import ROOT
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader

from sdr_mm.datasets import ClusterDataset, CropViews, LoadImage
from sdr_mm.engine.configs import use_on_error
from sdr_mm.errors import InputError
from sdr_mm.images.crops import Box
from sdr_mm.images.reading import open_rgb, read_rgb
from sdr_mm.models import BatchedColors
from sdr_mm.registry import TRANSFORMS

LOAD = [dict(type='sdr_mm.LoadImage')]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two real photos as JPEGs, 500 x 375, and larger."""
    folder = tmp_path_factory.mktemp('photos')
    files = {}
    for width in (500, 2000):
        for number, photo in enumerate(load_sample_images().images):
            picture = Image.fromarray(photo).resize((width, width * 3 // 4), Image.Resampling.LANCZOS)
            files.setdefault(width, []).append(save(picture, folder / f'{width}-{number}.jpg', quality=92))
    return files


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('ratios', [(0.2, 1.0), (0.08, 1.0)])
def test_crops_are_mmpretrains_to_the_last_bit(photos, ratios, interpolation):
    options = dict(crop_ratio_range=ratios, interpolation=interpolation)
    ours = CropViews(LOAD, 224, **options)
    theirs = RandomResizedCrop(224, backend='pillow', **options)
    for seed in range(6):
        path = str(photos[500][seed % 2])
        np.random.seed(seed)
        found = ours(dict(img_path=path))
        np.random.seed(seed)
        image = LoadImage()(dict(img_path=path))['img']
        # The crops are drawn one after the other.
        expected = [theirs(dict(img=image))['img'] for _ in range(2)]
        assert all(np.array_equal(*pair) for pair in zip(found['img'], expected)) and len(found['img']) == 2
        assert not np.array_equal(*found['img'])
        assert (found['img_shape'], found['ori_shape']) == ((224, 224), (375, 500))


def test_only_jpegs_whose_crops_stay_large_are_decoded_smaller():
    views = CropViews(LOAD, 100, reducing_gap=2)
    for sides, factor in (((400, 500), 2), ((399, 5000), 1), ((800, 900), 4), ((799, 800), 2), ((1600, 1600), 8),
                          ((100, 100), 1), ((9999, 9999), 8)):
        assert views.reduction([Box(0, 0, *sides), Box(0, 0, 10_000, 10_000)]) == factor
        assert views.reduction([Box(0, 0, 10_000, 10_000), Box(0, 0, *sides[::-1])]) == factor
    assert CropViews(LOAD, 100, reducing_gap=float('inf')).reduction([Box(0, 0, 9999, 9999)]) == 1


def laplacian(image):
    gray = image.astype(float).mean(-1)
    return (4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]).var()


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_crops_of_a_smaller_decoding_are_nearly_those_of_the_whole(photos, interpolation):
    seen = set()
    for seed in range(40):
        path = str(photos[2000][seed % 2])
        found = []
        for gap in (2.0, float('inf')):
            np.random.seed(seed)
            views = CropViews(LOAD, 224, crop_ratio_range=(0.2, 1.0), interpolation=interpolation, reducing_gap=gap)
            found.append(views(dict(img_path=path)))
        np.random.seed(seed)
        seen.add(views.__class__(LOAD, 224).reduction(views.draw(1500, 2000)))
        assert found[0]['ori_shape'] == found[1]['ori_shape'] == (1500, 2000)
        for small, whole in zip(found[0]['img'], found[1]['img']):
            difference = np.abs(small.astype(int) - whole)
            assert difference.mean() < 1.5 and np.percentile(difference, 99) <= 8
            assert 0.85 < laplacian(small) / laplacian(whole) < 1.15
    assert seen == {1, 2}


@pytest.mark.parametrize('factor', [2, 4, 8])
def test_a_box_is_found_at_its_place_in_a_smaller_decoding(tmp_path, factor):
    # A ramp shows a displacement of a fraction of a pixel; the odd sides are rounded up when they are divided.
    rows, columns = np.mgrid[:1501, :1999] / [[[2000]], [[2000]]] * 255
    path = save(Image.fromarray(np.stack([rows, columns, rows], -1).astype(np.uint8)), tmp_path / 'a.jpg', quality=95)
    views, box = CropViews(LOAD, 64), Box(413, 801, 900, 1101)
    small = open_rgb(path, reduction=lambda height, width: factor)
    assert small.size == (-(-1999 // factor), -(-1501 // factor))
    whole = views.cut(open_rgb(path), box)
    assert np.abs(views.cut(small, box, factor).astype(int) - whole).max() <= 2


@pytest.mark.parametrize('turned', [1, 3, 6])
def test_boxes_are_those_of_the_upright_image(photos, tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    path = save(Image.open(photos[2000][0]), tmp_path / 'a.jpg', exif=exif, quality=92)
    shape = read_rgb(path).shape[:2]
    assert shape == ((2000, 1500) if turned == 6 else (1500, 2000))
    found = []
    for gap in (1.0, float('inf')):
        np.random.seed(3)
        results = CropViews(LOAD, 100, crop_ratio_range=(0.5, 1.0), reducing_gap=gap)(dict(img_path=str(path)))
        assert results['ori_shape'] == shape
        found.append(np.array(results['img'], int))
    # Decoded smaller, its rim would be on the wrong side, so a turned one is decoded whole.
    assert np.array_equal(*found) == (turned != 1)


def test_other_files_are_cropped_too(tmp_path, photos):
    path = save(Image.open(photos[2000][0]), tmp_path / 'a.png')
    np.random.seed(0)
    found = CropViews(LOAD, 32)(dict(img_path=str(path)))
    np.random.seed(0)
    expected = RandomResizedCrop(32, crop_ratio_range=(0.08, 1.0), backend='pillow')(LoadImage()(dict(img_path=path)))
    assert np.array_equal(found['img'][0], expected['img']) and found['ori_shape'] == (1500, 2000)


def test_an_image_that_cannot_be_decoded_stops_or_is_skipped(tmp_path, photos):
    cut = tmp_path / 'cut.jpg'
    cut.write_bytes(photos[2000][0].read_bytes()[:20_000])
    for path in [*bad_images(tmp_path / 'bad'), cut]:
        with pytest.raises(InputError, match='cannot be decoded'):
            CropViews(LOAD, 32)(dict(img_path=str(path)))
        assert CropViews([dict(type='sdr_mm.LoadImage', on_error='skip')], 32)(dict(img_path=str(path))) is None


@pytest.mark.parametrize('options', [dict(size=0), dict(num_views=0), dict(reducing_gap=0.5),
                                     dict(interpolation='area')])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match='CropViews needs size >= 1'):
        CropViews(LOAD, **{'size': 32, **options})
    with pytest.raises(InputError, match='let its transforms be one sdr_mm.LoadImage'):
        CropViews([*LOAD, *LOAD], 32)


def test_a_view_is_a_function_of_its_triple_in_any_worker_and_batch(photos):
    init_default_scope('sdr_mm')
    pipeline = [dict(type='CropViews', transforms=LOAD, size=64), dict(type='PackInputs')]
    images = dict(type='ImageFolder', data_root=str(photos[500][0].parent), pipeline=pipeline)
    dataset = ClusterDataset(images)
    triples = [(number % 4, -1, 100 + number) for number in range(6)]
    views = BatchedColors(hue=0.1, brightness=0.4, blur_prob=0.5)
    whole, by_one = (
        [views(data)['inputs'] for data in DataLoader(dataset, num_workers=workers, collate_fn=default_collate,
                                                      batch_sampler=batches)]
        for workers, batches in ((0, [triples]), (2, [[triple] for triple in triples])))
    for number in range(2):
        torch.testing.assert_close(torch.cat([one[number] for one in by_one]), whole[0][number], rtol=1e-5, atol=1e-3)
    assert whole[0][0].shape == (6, 3, 64, 64) and not torch.equal(*whole[0])


def test_on_error_reaches_the_loader_inside():
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'imagenet_224px_batched.py')
    cfg = Config(dict(train_dataloader=dict(dataset=dict(dataset=cfg.train_dataset))))
    use_on_error(cfg, 'skip')
    assert TRANSFORMS.build(cfg.train_dataloader.dataset.dataset.pipeline[0]).load.on_error == 'skip'
