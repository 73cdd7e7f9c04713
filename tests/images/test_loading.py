"""Reading images of any kind, and folders of them."""

import json
import logging
import os

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset as EngineDataset
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.datasets.transforms import ColorJitter as PretrainColorJitter
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from sdr_mm.datasets.color_jitter import ColorJitter
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.loading import LoadImage, read_rgb
from sdr_mm.errors import InputError
from sdr_mm.images import image_names

WHITE, RED = [255, 255, 255], [255, 0, 0]


def pixels(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def small(path):
    return save(Image.new('RGB', (2, 2), 'red'), path)


# Decoding


def test_loaded_pixels_are_those_of_the_loader_it_replaces(tmp_path):
    rng = np.random.default_rng(0)
    path = save(Image.fromarray(pixels(rng, 7, 5, 3)), tmp_path / 'a.png')
    ours = LoadImage()(dict(img_path=str(path)))
    theirs = LoadImageFromFile()(dict(img_path=str(path)))
    assert np.array_equal(ours['img'], theirs['img']) and ours['img'].dtype == np.uint8
    assert ours['img'].flags.c_contiguous
    assert ours['img_shape'] == ours['ori_shape'] == theirs['img_shape'] == (7, 5)
    assert np.array_equal(read_rgb(path), theirs['img'][..., ::-1])


def test_alpha_is_composited_on_the_background(tmp_path):
    image = Image.new('RGBA', (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 128)])
    path = save(image, tmp_path / 'a.png')
    assert read_rgb(path).tolist() == [[RED, WHITE, [255, 127, 127]]]
    assert read_rgb(path, background=0).tolist() == [[RED, [0, 0, 0], [128, 0, 0]]]


def test_transparent_gray_values_palettes_and_colors_show_the_background(tmp_path):
    gray = Image.new('LA', (2, 1))
    gray.putdata([(10, 255), (10, 0)])
    assert read_rgb(save(gray, tmp_path / 'la.png')).tolist() == [[[10] * 3, WHITE]]
    palette = Image.new('P', (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    assert read_rgb(save(palette, tmp_path / 'p.png')).tolist() == [[RED, [0, 0, 255]]]
    assert read_rgb(save(palette, tmp_path / 'pt.png', transparency=1)).tolist() == [[RED, WHITE]]
    plain = Image.new('RGB', (2, 1), 'red')
    plain.putpixel((1, 0), (0, 0, 255))
    assert read_rgb(save(plain, tmp_path / 't.png', transparency=(0, 0, 255))).tolist() == [[RED, WHITE]]


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    path = save(Image.fromarray(values), tmp_path / 'a.png')
    assert read_rgb(path).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    assert read_rgb(save(Image.fromarray(values), tmp_path / 'a.tif')).tolist() == read_rgb(path).tolist()


def test_other_modes_are_converted(tmp_path):
    assert read_rgb(save(Image.new('1', (1, 1), 1), tmp_path / '1.png')).tolist() == [[WHITE]]
    assert read_rgb(save(Image.new('L', (1, 1), 9), tmp_path / 'l.png')).tolist() == [[[9] * 3]]
    cmyk = read_rgb(save(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), tmp_path / 'c.jpg', quality=100))
    assert np.abs(cmyk.astype(int) - RED).max() <= 3
    animation = [Image.new('RGB', (1, 1), color) for color in ('red', 'blue')]
    path = save(animation[0], tmp_path / 'a.webp', save_all=True, append_images=animation[1:], lossless=True)
    assert read_rgb(path).tolist() == [[RED]]


def test_images_are_turned_upright(tmp_path):
    image = Image.new('RGB', (2, 1), 'blue')
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    assert read_rgb(save(image, tmp_path / 'a.png', exif=exif)).tolist() == [[RED], [[0, 0, 255]]]


def bad_images(folder):
    folder.mkdir()
    whole = save(Image.effect_noise((64, 64), 50), folder / 'whole.png').read_bytes()
    (folder / 'truncated.png').write_bytes(whole[:len(whole) // 2])
    (folder / 'damaged.png').write_bytes(whole[:60] + b'x' * 40 + whole[100:])
    (folder / 'text.png').write_text('no image')
    (folder / 'empty.png').touch()
    (folder / 'whole.png').unlink()
    return [*sorted(folder.iterdir()), folder / 'missing.png']


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


def test_a_decompression_bomb_is_refused(tmp_path):
    # The header alone of an image of 20990 x 29700 pixels.
    path = save(Image.new('L', (1, 1)), tmp_path / 'bomb.pgm')
    path.write_bytes(b'P5 20990 29700 255\n')
    with pytest.raises(InputError, match=r'cannot be decoded \(.*623403000 pixels'):
        read_rgb(path)


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="'stop' or 'skip', got 'ignore'"):
        LoadImage(on_error='ignore')


# Colors


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


# Folders


def test_a_flat_or_nested_folder_gives_all_its_images_in_order(tmp_path):
    names = ['a.png', 'b.JPG', 'deep/d.gif', 'deep/er/c.webp']
    for name in names:
        small(tmp_path / name)
    small(tmp_path / '.hidden.png')
    small(tmp_path / '.cache' / 'a.png')
    (tmp_path / 'notes.txt').write_text('no image')
    dataset = ImageFolder(str(tmp_path), pipeline=[LoadImage()])
    assert image_names(dataset) == names
    assert [dataset.get_data_info(i) for i in range(4)] == [
        dict(img_path=os.path.join(tmp_path, name), sample_idx=i) for i, name in enumerate(names)]
    assert dataset[2]['img'].shape == (2, 2, 3)


def test_linked_folders_are_followed_once(tmp_path):
    small(tmp_path / 'images' / 'a.png')
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'link').symlink_to(tmp_path / 'images')
    (root / 'again').symlink_to(tmp_path / 'images')
    (tmp_path / 'images' / 'loop').symlink_to(root)
    assert image_names(ImageFolder(str(root))) == ['again/a.png']


def test_a_list_chooses_images_and_their_order(tmp_path):
    for name in ('a.png', 'b/c.png', 'd.png'):
        small(tmp_path / name)
    (tmp_path / 'list.txt').write_text('d.png\n\nb/c.png\n')
    assert image_names(ImageFolder(str(tmp_path), ann_file='list.txt')) == ['d.png', 'b/c.png']


def test_a_missing_or_empty_folder_or_list_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty.txt').touch()
    for options, message in [
        (dict(data_root=str(tmp_path / 'none')), 'there is no folder'),
        (dict(data_root=''), 'there is no folder'),
        (dict(data_root=str(tmp_path / 'empty')), 'there are no images in the folder'),
        (dict(data_root=str(tmp_path), ann_file='none.txt'), 'there is no file'),
        (dict(data_root=str(tmp_path), ann_file='empty.txt'), 'lists no images'),
    ]:
        with pytest.raises(InputError, match=message):
            ImageFolder(**options)


# Names


def test_names_do_not_depend_on_the_class_or_place_of_the_data_set(tmp_path, monkeypatch):
    names = ['n01/a.png', 'n01/b.png', 'n02/a.png']
    for name in names:
        small(tmp_path / 'data' / 'train' / name)
    train = str(tmp_path / 'data' / 'train')
    for dataset in (
            ImageFolder(train),
            ImageFolder(train + '/'),
            ImageFolder(train, lazy_init=True),
            ImageFolder(train, serialize_data=False),
            CustomDataset(data_root=train),
            CustomDataset(data_prefix=train, with_label=False),
            ImageNet(data_root=str(tmp_path / 'data'), split='train', classes=('x', 'y')),
    ):
        assert image_names(dataset) == names, dataset
    monkeypatch.chdir(tmp_path)
    assert image_names(ImageFolder('data/train')) == names


def test_names_of_images_elsewhere_start_at_their_common_folder(tmp_path):
    paths = [str(tmp_path / 'x' / 'a.png'), str(tmp_path / 'y' / 'z' / 'b.png')]
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here' / 'list.txt').write_text('\n'.join(paths))
    dataset = ImageFolder(str(tmp_path / 'here'), ann_file='list.txt')
    assert image_names(dataset) == ['x/a.png', 'y/z/b.png']


def test_images_that_are_not_files_have_no_names(tmp_path):
    (tmp_path / 'list.json').write_text(json.dumps(dict(metainfo={}, data_list=[dict(img_path='', img=[0])])))

    class Arrays(EngineDataset):

        def parse_data_info(self, info):
            return dict(img=info['img'])

    with pytest.raises(InputError, match='the images of Arrays are not files'):
        image_names(Arrays(ann_file=str(tmp_path / 'list.json')))
