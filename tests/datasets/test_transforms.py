"""Loading images and changing their colors, as transforms of a pipeline."""

import logging
import tracemalloc

import numpy as np
import pytest
from image_files import bad_images, pixels, save
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import ColorJitter as PretrainColorJitter
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from repository import ROOT
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from sdr_mm.datasets.color_jitter import ColorJitter
from sdr_mm.datasets.loading import LoadImage, ResizeAndCrop
from sdr_mm.errors import InputError
from sdr_mm.images import read_rgb


def test_loaded_pixels_are_those_of_the_loader_it_replaces(tmp_path):
    rng = np.random.default_rng(0)
    path = save(Image.fromarray(pixels(rng, 7, 5, 3)), tmp_path / 'a.png')
    ours = LoadImage()(dict(img_path=str(path)))
    theirs = LoadImageFromFile()(dict(img_path=str(path)))
    assert np.array_equal(ours['img'], theirs['img']) and ours['img'].dtype == np.uint8
    assert ours['img'].flags.c_contiguous
    assert ours['img_shape'] == ours['ori_shape'] == theirs['img_shape'] == (7, 5)
    assert np.array_equal(read_rgb(path), theirs['img'][..., ::-1])


@pytest.mark.parametrize('height, width', [(64, 64), (64, 40), (20, 90)])
def test_resized_crop_is_torchvisions(height, width):
    image = pixels(np.random.default_rng(0), height, width, 3)
    found = ResizeAndCrop(36, 32)(dict(img=image))
    expected = center_crop(resize(Image.fromarray(image), 36, InterpolationMode.BICUBIC), [32, 32])
    assert np.array_equal(found['img'], np.asarray(expected)) and found['img_shape'] == (32, 32)
    assert found['img'].flags.c_contiguous


def test_a_strip_does_not_fill_the_memory_of_a_training():
    tracemalloc.start()
    # Its short side enlarged to 32 would make it 2 million pixels long.
    assert ResizeAndCrop(32, 32)(dict(img=np.zeros((1, 60_000, 3), np.uint8)))['img'].shape == (32, 32, 3)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    cfg = Config.fromfile(ROOT / 'configs/small/simclr_resnet18_b128-10e_32px.py')
    assert [part.type for part in cfg.train_pipeline[0].transforms] == ['sdr_mm.LoadImage', 'sdr_mm.ResizeAndCrop']
    with pytest.raises(InputError, match='0 < size <= resize, got size=33 and resize=32'):
        ResizeAndCrop(32, 33)


def test_an_image_that_cannot_be_decoded_stops_with_one_line(tmp_path):
    for path in bad_images(tmp_path / 'bad'):
        for load in (read_rgb, lambda path: LoadImage()(dict(img_path=str(path)))):
            with pytest.raises(InputError) as error:
                load(path)
            message = str(error.value)
            assert str(path) in message and 'cannot be decoded (' in message and "on_error='skip'" in message
            assert '\n' not in message


def test_an_image_that_cannot_be_decoded_is_skipped_and_named_once(tmp_path):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    load = LoadImage(on_error='skip')
    paths = bad_images(tmp_path / 'bad')
    for path in paths * 2:
        assert load(dict(img_path=str(path))) is None
    logger.removeHandler(handler)
    lines = [record.getMessage() for record in records]
    assert len(lines) == len(paths)
    assert all(line.startswith(f'skipped: image {path} cannot be decoded (') for line, path in zip(lines, paths))


def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(tmp_path):
    path = save(Image.new('1', (300, 100)), tmp_path / 'a.png')
    assert read_rgb(path, max_pixels=30000).shape == (100, 300, 3)
    with pytest.raises(InputError, match='300 x 100 pixels are more than max_pixels=29999'):
        read_rgb(path, max_pixels=29999)
    with pytest.raises(InputError, match='max_pixels'):
        LoadImage(max_pixels=29999)(dict(img_path=str(path)))


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="'stop' or 'skip', got 'ignore'"):
        LoadImage(on_error='ignore')


def test_hue_turns_either_way():
    image = np.full((1, 1, 3), (0, 0, 255), np.uint8)  # red, as BGR
    hues = [ColorJitter(hue=(factor, factor))(dict(img=image.copy()))['img'][0, 0].tolist()
            for factor in (-1 / 3, 1 / 3, 1e-9)]
    # Red turned backwards is blue, forwards it is green; 8-bit hues are about 1.4 degrees wide.
    assert np.abs(np.array(hues) - [[255, 0, 0], [0, 255, 0], [0, 0, 255]]).max() <= 6


def test_colors_are_jittered_as_in_mmpretrain():
    rng = np.random.default_rng(0)
    image = pixels(rng, 6, 5, 3)
    options = dict(brightness=0.4, contrast=0.4, saturation=0.4)
    for seed in range(5):
        np.random.seed(seed)
        ours = ColorJitter(**options)(dict(img=image.copy()))['img']
        np.random.seed(seed)
        assert np.array_equal(ours, PretrainColorJitter(**options)(dict(img=image.copy()))['img'])


def test_inherited_recipes_get_the_jitter_that_works():
    init_default_scope('sdr_mm')
    assert type(TRANSFORMS.build(dict(type='ColorJitter'))) is ColorJitter
    views = TRANSFORMS.build(dict(type='MultiView', num_views=2, transforms=[[dict(type='ColorJitter', hue=0.1)]]))
    assert type(views.pipelines[0].transforms[0]) is ColorJitter
