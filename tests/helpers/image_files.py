"""Image files for tests, sound and damaged ones."""

import struct

import numpy as np
from PIL import Image

WHITE, RED = [255, 255, 255], [255, 0, 0]


def pixels(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def exif(number, order='<', before=b'', count=None, kind=3):
    """A directory with the orientation after other entries of 12 bytes, and nothing that these point to."""
    value = struct.pack(order + {1: 'B3x', 3: 'H2x', 4: 'I'}[kind], number)
    entries = before + struct.pack(order + 'HHI', 0x0112, kind, 1) + value
    count = len(entries) // 12 if count is None else count
    return (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(order + 'IH', 8, count) + entries


def upright(pixels, number):
    """Where the first row and the first column of a file belong by its EXIF orientation, as the standard has it."""
    turned = pixels[::-1] if number in (3, 4, 6, 7) else pixels
    turned = turned[:, ::-1] if number in (2, 3, 7, 8) else turned
    return turned.swapaxes(0, 1) if number > 4 else turned


def small(path):
    return save(Image.new('RGB', (2, 2), 'red'), path)


def bad_images(folder):
    folder.mkdir()
    whole = save(Image.effect_noise((64, 64), 50), folder / 'whole.png').read_bytes()
    (folder / 'truncated.png').write_bytes(whole[:len(whole) // 2])
    (folder / 'damaged.png').write_bytes(whole[:60] + b'x' * 40 + whole[100:])
    (folder / 'text.png').write_text('no image')
    (folder / 'empty.png').touch()
    (folder / 'whole.png').unlink()
    return [*sorted(folder.iterdir()), folder / 'missing.png']
