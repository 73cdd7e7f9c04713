"""Reading images of any kind."""

import numpy as np
import pytest
from image_files import RED, WHITE, save
from PIL import Image

from sdr_mm.errors import InputError
from sdr_mm.images import read_rgb


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


def test_a_decompression_bomb_is_refused(tmp_path):
    # The header alone of an image of 20990 x 29700 pixels.
    path = save(Image.new('L', (1, 1)), tmp_path / 'bomb.pgm')
    path.write_bytes(b'P5 20990 29700 255\n')
    with pytest.raises(InputError, match=r'cannot be decoded \(.*623403000 pixels'):
        read_rgb(path)
