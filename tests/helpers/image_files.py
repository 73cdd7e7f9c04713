"""Image files for tests, sound and damaged ones."""

import numpy as np
from PIL import Image

WHITE, RED = [255, 255, 255], [255, 0, 0]


def pixels(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


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
