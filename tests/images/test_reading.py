"""Reading images of any kind."""

import os
import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from image_files import RED, WHITE, exif, save, upright
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


def tiff(path, values, **tags):
    """A gray TIFF, with tags by their numbers (``_280=5``)."""
    return save(Image.fromarray(values), path, tiffinfo={int(name[1:]): value for name, value in tags.items()})


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_values_of_fewer_bits_in_sixteen_fill_the_range(suffix, bits, tmp_path):
    white = 2**bits - 1
    values = np.linspace(0, white, 300).astype(np.uint16).reshape(20, 15)
    gray = read_rgb(save(Image.fromarray(values), tmp_path / f'gray.{suffix}'))
    assert np.array_equal(gray[..., 0], values * np.uint64(255) // white) and gray[0, 0, 0] == 0 and gray.max() == 255
    # Pillow writes no colors of 16 bits.
    colors = np.stack([values, values[::-1], values // 2], -1)
    path = str(tmp_path / f'color.{suffix}')
    assert cv2.imwrite(path, colors[..., ::-1])
    assert np.abs(read_rgb(path) - colors * (255 / white)).max() <= 1
    alpha = np.full((20, 15, 1), 65535, np.uint16)
    alpha[0, 0] = 0
    assert cv2.imwrite(path, np.concatenate([colors[..., ::-1], alpha], -1))
    expected = colors * (255 / white)
    expected[0, 0] = 255
    assert np.abs(read_rgb(path) - expected).max() <= 1


def test_what_a_file_says_of_its_range_counts(tmp_path):
    values = np.array([[0, 1000, 2000]], np.uint16)
    assert read_rgb(tiff(tmp_path / 'a.tif', values, _281=4000))[0, :, 0].tolist() == [0, 63, 127]
    assert read_rgb(tiff(tmp_path / 'a.tif', values, _281=65535))[0, :, 0].tolist() == [0, 3, 7]
    # A range that does not hold the values is none: they fit 11 bits, so they are taken for 12.
    assert read_rgb(tiff(tmp_path / 'a.tif', values, _281=1999))[0, :, 0].tolist() == [0, 62, 124]
    signed = np.array([[-1000, 0, 1000]], np.int32)
    assert read_rgb(tiff(tmp_path / 'a.tif', signed, _340=-1000, _341=1000))[0, :, 0].tolist() == [0, 128, 255]
    floats = np.array([[-2, 0.5, 3]], np.float32)
    assert read_rgb(tiff(tmp_path / 'a.tif', floats, _340=-2., _341=3.))[0, :, 0].tolist() == [0, 128, 255]
    # PGM states its white.
    (tmp_path / 'a.pgm').write_bytes(b'P5 3 1 4095 ' + struct.pack('>3H', 0, 819, 1638))
    assert read_rgb(tmp_path / 'a.pgm')[0, :, 0].tolist() == [0, 51, 102]


def test_floating_point_goes_from_black_to_white(tmp_path):
    values = np.array([[0, 0.2, 0.5, 1]], np.float32)
    assert read_rgb(tiff(tmp_path / 'a.tif', values))[0, :, 0].tolist() == [0, 51, 128, 255]
    assert read_rgb(tiff(tmp_path / 'a.tif', values, _262=0))[0, :, 0].tolist() == [255, 204, 127, 0]
    sixteen = np.array([[0, 65535]], np.uint16)
    assert read_rgb(tiff(tmp_path / 'a.tif', sixteen, _262=0))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize('values', [
    np.array([[0, 5000]], np.float32), np.array([[0, 1.01]], np.float32), np.array([[-0.1, 1]], np.float32),
    np.array([[0, np.nan]], np.float32), np.array([[0, np.inf]], np.float32), np.array([[-500, 500]], np.int32),
    np.array([[0, 1 << 20]], np.int32)])
def test_values_of_an_unknown_range_are_refused(values, tmp_path):
    with pytest.raises(InputError, match='its values go from .* save it with 8 bits'):
        read_rgb(tiff(tmp_path / 'a.tif', values))


def test_signed_bytes_are_no_unsigned_ones(tmp_path):
    path = tiff(tmp_path / 'a.tif', np.array([[0, 100, 127]], np.uint8), _339=2)
    assert read_rgb(path)[0, :, 0].tolist() == [0, 100, 127]
    with pytest.raises(InputError, match='its values go from -128 to 127'):
        read_rgb(tiff(tmp_path / 'a.tif', np.array([[0, 127, 128]], np.uint8), _339=2))


def test_the_transparent_color_is_that_of_the_file(tmp_path):
    def png(color, bits, row, key):
        header = struct.pack('>2I5B', 2, 1, bits, color, 0, 0, 0)
        parts = [(b'IHDR', header), (b'tRNS', key), (b'IDAT', zlib.compress(b'\0' + row)), (b'IEND', b'')]
        path = tmp_path / 'a.png'
        path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts))
        return read_rgb(path, background=7)[0].tolist()

    assert png(0, 2, b'\x60', b'\0\1') == [[7] * 3, [170] * 3]  # 1 and 2 of 0 to 3
    assert png(0, 4, b'\x12', b'\0\1') == [[7] * 3, [34] * 3]
    assert png(0, 16, b'\x80\0\xff\xff', b'\x80\0') == [[7] * 3, WHITE]
    # Two colors that differ in their low bytes only.
    assert png(2, 16, b'\x80\1\x80\2\x80\3' b'\x80\1\x80\2\x80\4', b'\x80\1\x80\2\x80\4') == [[128] * 3, [7] * 3]


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


ARROW = np.array([[1, 2, 3], [4, 5, 6]], np.uint8) * 40
UPRIGHT = {number: upright(ARROW, number) for number in range(1, 9)}


@pytest.mark.parametrize('number', range(1, 9))
def test_odd_entries_beside_the_orientation_do_not_matter(number, tmp_path):
    odd = [
        dict(), dict(order='>'), dict(kind=4), dict(kind=1), dict(count=500),
        dict(before=struct.pack('<HHII', 0x010f, 2, 4000, 1 << 30)),  # text far outside
        dict(before=struct.pack('<HHII', 0x0100, 99, 1, 0)),  # of no type
        dict(before=struct.pack('<HHII', 0x8769, 4, 1, 3)),  # a directory that is none
        dict(before=struct.pack('<HHII', 0x0131, 3, 7, 9) + struct.pack('<HHII', 0x011a, 5, 1, 1 << 31)),
    ]
    for options in odd:
        data = exif(number, **options)
        path = save(Image.fromarray(ARROW), tmp_path / 'a.png', exif=data)
        assert np.array_equal(read_rgb(path)[..., 0], UPRIGHT[number]), options
        path = save(Image.fromarray(ARROW), tmp_path / 'a.webp', exif=data, lossless=True)
        assert np.array_equal(read_rgb(path)[..., 0], UPRIGHT[number]), options
        large = Image.fromarray(ARROW.repeat(16, 0).repeat(16, 1))
        path = save(large, tmp_path / 'a.jpg', exif=b'Exif\0\0' + data, quality=100)
        assert np.abs(read_rgb(path)[8::16, 8::16, 0].astype(int) - UPRIGHT[number]).max() < 3, options
    for options in (dict(), dict(compression='tiff_lzw')):
        path = save(Image.fromarray(ARROW), tmp_path / 'a.tif', tiffinfo={0x0112: number, 0x8769: 3}, **options)
        assert np.array_equal(read_rgb(path)[..., 0], UPRIGHT[number])


@pytest.mark.parametrize('data', [
    exif(0), exif(9), b'', b'II*\0', b'nonsense', exif(6)[:20], b'II*\0\xff\xff\xff\xff',
    exif(6).replace(b'\x12\1', b'\x13\1')])
def test_an_orientation_of_no_meaning_turns_nothing(data, tmp_path):
    path = save(Image.fromarray(ARROW), tmp_path / 'a.png')
    start = path.read_bytes()
    path.write_bytes(start[:33] + chunk(b'eXIf', data) + start[33:])
    assert np.array_equal(read_rgb(path)[..., 0], ARROW)


def test_metadata_do_not_make_an_image_unreadable(tmp_path):
    path = save(Image.fromarray(ARROW), tmp_path / 'a.png', exif=exif(6))
    start = path.read_bytes()
    huge = zlib.compress(b'x' * (2 << 20))
    broken = chunk(b'tEXt', b'key\0text')[:-1] + b'\0'
    for part in (broken, chunk(b'zTXt', b'key\0\0' + huge), chunk(b'iTXt', b'key\0\1\0\0\0' + huge),
                 chunk(b'gAMA', b''), chunk(b'pHYs', b'1'), chunk(b'iCCP', b'name\0\0' + huge[:-9]),
                 chunk(b'acTL', b'12345678'),
                 chunk(b'sRGB', b''), chunk(b'cHRM', b'1'), chunk(b'fcTL', b'123'), chunk(b'iCCP', b'\0\0nonsense')):
        for place in (33, len(start) - 12):
            path.write_bytes(start[:place] + part + start[place:])
            assert np.array_equal(read_rgb(path)[..., 0], UPRIGHT[6]), part[:12]
    path.write_bytes(start[:-12])  # no end
    assert np.array_equal(read_rgb(path)[..., 0], UPRIGHT[6])
    data = BytesIO()
    Image.new('RGB', (16, 8), 'red').save(data, 'JPEG', quality=100, exif=b'Exif\0\0' + exif(6))
    data = data.getvalue()
    for segment in (b'\xff\xe2\0\x0eICC_PROFILE\0', b'\xff\xe2\0\x06MPF\0', b'\xff\xed\0\x14Photoshop 3.0\x008BI',
                    b'\xff\xfe\0\x03\xff', b'\xff\xe2\0\x10ICC_PROFILE\0\1\xff'):
        path.write_bytes(data[:2] + segment + data[2:])
        image = read_rgb(path)
        assert image.shape == (16, 8, 3) and np.abs(image.astype(int) - RED).max() < 3, segment


def test_a_damaged_png_shows_no_other_pixels(tmp_path):
    rng = np.random.default_rng(0)
    path = save(Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)), tmp_path / 'a.png', compress_level=0)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match='wrong checksum of IDAT'):
        read_rgb(path)
    data[700] ^= 1
    path.write_bytes(data[:700] + data[720:])  # what follows fills the place of what is lost
    with pytest.raises(InputError, match='the file ends in the middle of IDAT'):
        read_rgb(path)


def test_strips_that_are_not_there_are_not_black(tmp_path):
    path = save(Image.new('L', (30, 20), 'white'), tmp_path / 'a.tif')
    assert read_rgb(path).min() == 255
    height = struct.pack('<HHI', 257, 4, 1) + struct.pack('<I', 20)
    assert path.read_bytes().count(height) == 1
    path.write_bytes(path.read_bytes().replace(height, height[:8] + struct.pack('<I', 50)))
    with pytest.raises(InputError, match='only 600 of its 1500 pixels are in the file'):
        read_rgb(path)


@pytest.mark.parametrize('name', [
    'a.png', 'a.jpg', 'a.gif', 'a.tif', 'lzw.tif', 'a.webp', 'a.bmp', 'a.ppm', 'a.jp2', 'a.avif'])
def test_a_file_that_ends_early_is_refused(name, tmp_path):
    options = dict(compression='tiff_lzw') if name == 'lzw.tif' else {}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    path = save(picture, tmp_path / name, **options)
    assert read_rgb(path).shape == (60, 50, 3)
    data = path.read_bytes()
    for part in range(20):
        path.write_bytes(data[:len(data) * part // 20])
        with pytest.raises(InputError, match='cannot be decoded'):
            read_rgb(path)


def test_an_mpo_of_a_phone_is_its_first_picture(tmp_path):
    pictures = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    path = save(pictures[0], tmp_path / 'a.mpo', save_all=True, append_images=pictures[1:]).rename(tmp_path / 'a.jpg')
    assert np.abs(read_rgb(path).astype(int) - RED).max() < 3


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.png').mkdir()
    for path in (tmp_path / 'pipe.png', tmp_path / 'folder.png', '/dev/zero'):
        with pytest.raises(InputError, match=f'image {path} cannot be decoded .it is no file'):
            read_rgb(path)


def test_formats_that_run_a_program_are_not_known(tmp_path):
    save(Image.new('RGB', (4, 4)), tmp_path / 'a.eps').rename(tmp_path / 'a.png')
    with pytest.raises(InputError, match='not an image in a known format'):
        read_rgb(tmp_path / 'a.png')


def test_a_decompression_bomb_is_refused(tmp_path):
    # The header alone of an image of 20990 x 29700 pixels.
    path = save(Image.new('L', (1, 1)), tmp_path / 'bomb.pgm')
    path.write_bytes(b'P5 20990 29700 255\n')
    with pytest.raises(InputError, match=r'cannot be decoded \(.*623403000 pixels'):
        read_rgb(path)
