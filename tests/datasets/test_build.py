"""The images of a config, and how they are read there."""

import numpy as np
import pytest
from image_files import bad_images, save
from mmcv.transforms import LoadImageFromFile
from mmengine.config import ConfigDict
from PIL import Image

from sdr_mm.datasets.build import dataset_of_config, image_dataset, reader
from sdr_mm.datasets.loading import LoadImage
from sdr_mm.errors import InputError
from sdr_mm.images import image_names, read_rgb


@pytest.fixture
def folder(tmp_path):
    save(Image.new('RGBA', (2, 3), (255, 0, 0, 128)), tmp_path / 'images' / 'a.png')
    save(Image.new('RGB', (2, 3), (1, 2, 3)), tmp_path / 'images' / 'b.png')
    return tmp_path


def config(folder, outer, inner):
    """Config of training on ``folder`` inside two wrappers, with a pipeline outside and one inside."""
    (folder / 'config.py').write_text(f"""
images = dict(type='ImageFolder', data_root={str(folder / 'images')!r}, pipeline={inner})
wrapped = dict(type='ClusterDataset', clusters='not there.npz', dataset=dict(type='Repeat', dataset=images))
train_dataloader = dict(dataset=dict(wrapped, pipeline={outer}))
""")
    return str(folder / 'config.py')


@pytest.mark.parametrize('outer, inner, expected', [
    ([dict(type='LoadImage', background=0), dict(type='PackInputs')], [], [128, 0, 0]),
    ([], [dict(type='sdr_mm.LoadImage', background=100), dict(type='PackInputs')], [178, 50, 50]),
    ([], [dict(type='LoadImageFromFile')], [255, 0, 0]),
    ([], [dict(type='PackInputs')], [255, 127, 127]),
], ids=['outside', 'inside', 'stock', 'none'])
def test_a_config_gives_its_images_once_and_reads_them_as_it_trains_on_them(folder, outer, inner, expected):
    dataset, read = dataset_of_config(config(folder, outer, inner))
    assert image_names(dataset) == ['a.png', 'b.png']
    image = read(dataset.get_data_info(0)['img_path'])
    assert image.dtype == np.uint8 and image.flags.c_contiguous and (image == expected).all()
    assert (read(dataset.get_data_info(1)['img_path']) == [1, 2, 3]).all()


def test_the_images_of_a_wrapper_are_changed_in_place():
    images = ConfigDict(type='ImageFolder', data_root='here')
    outer = ConfigDict(type='ClusterDataset', dataset=dict(type='RepeatDataset', dataset=images))
    image_dataset(outer).data_root = 'there'
    assert outer.dataset.dataset.data_root == 'there'
    assert image_dataset(images) is images


@pytest.mark.parametrize('load', [LoadImageFromFile(), LoadImage(), LoadImage(on_error='skip')],
                         ids=['stock', 'ours', 'skipping'])
def test_whatever_a_loader_does_about_a_bad_image_the_reader_says_it_in_one_line(tmp_path, load):
    good = save(Image.new('RGB', (2, 2), 'red'), tmp_path / 'good.png')
    assert np.array_equal(reader(load)(str(good)), read_rgb(good))
    for path in bad_images(tmp_path / 'bad'):
        if isinstance(load, LoadImageFromFile) and path.name in ('truncated.png', 'damaged.png'):
            continue  # OpenCV reads some of them
        with pytest.raises(InputError) as error:
            reader(load)(str(path))
        message = str(error.value)
        assert f'image {path} cannot be decoded (' in message and '--on-error skip' in message
        assert '\n' not in message


def test_a_config_without_images_is_refused(tmp_path):
    (tmp_path / 'eval.py').write_text('test_dataloader = dict()')
    with pytest.raises(InputError, match='has no train_dataloader.dataset'):
        dataset_of_config(str(tmp_path / 'eval.py'))
    with pytest.raises(InputError, match='there is no config'):
        dataset_of_config(str(tmp_path / 'none.py'))

