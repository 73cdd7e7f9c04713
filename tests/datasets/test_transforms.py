"""Loading images and changing their colors, as transforms of a pipeline."""

import logging

import numpy as np
import pytest
from image_files import bad_images, pixels, save
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import ColorJitter as PretrainColorJitter
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from sdr_mm.datasets.color_jitter import ColorJitter
from sdr_mm.datasets.loading import LoadImage
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
