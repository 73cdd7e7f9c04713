"""The pixels that frozen networks see, and images that are decoded while the network works."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from repository import ROOT
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from sdr_mm.errors import InputError
from sdr_mm.images import ImageStore, read_rgb, resize_and_crop
from sdr_mm.images.store import LARGEST


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.floats(0.05, 1))
@example(48, 36, 36, 32 / 36)  # nothing to resize
@example(64, 64, 64, 1)
@example(37, 40, 36, 0.9)  # the long side is rounded down, not to the nearest
@example(1, 90, 64, 0.5)
@example(33, 48, 32, 31 / 32)  # crops of an odd margin
def test_the_pixels_are_those_of_torchvision(height, width, resize, share):
    size = max(1, int(resize * share))
    image = np.random.default_rng(height * 97 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    torchvision = Compose([Resize(resize, InterpolationMode.BICUBIC), CenterCrop(size)])
    np.testing.assert_array_equal(resize_and_crop(image, resize, size), np.asarray(torchvision(Image.fromarray(image))))


def test_large_images_have_torchvisions_pixels_too():
    image = np.random.default_rng(0).integers(0, 256, (375, 501, 3), dtype=np.uint8)
    for resize, size in ((256, 224), (256, 256), (480, 320)):
        torchvision = Compose([Resize(resize, InterpolationMode.BICUBIC), CenterCrop(size)])
        np.testing.assert_array_equal(resize_and_crop(image, resize, size),
                                      np.asarray(torchvision(Image.fromarray(image))))


@pytest.mark.parametrize('height, width, resize, size', [
    (1, 600, 256, 224), (600, 1, 256, 255), (3, 1805, 256, 224), (2903, 5, 256, 224), (1, 1200, 200, 1)])
def test_of_a_very_long_image_only_the_crop_is_computed_with_torchvisions_pixels(height, width, resize, size):
    assert resize**2 * max(height, width) // min(height, width) > LARGEST
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    torchvision = Compose([Resize(resize, InterpolationMode.BICUBIC), CenterCrop(size)])
    difference = resize_and_crop(image, resize, size) - np.asarray(torchvision(Image.fromarray(image))).astype(int)
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 1e-4


def test_a_small_file_does_not_fill_the_memory(tmp_path):
    # Resized as a whole these are pictures of 1.6, 3.1 and 131 GB.
    script = tmp_path / 'strips.py'
    script.write_text("""
import resource, sys
import numpy as np
from PIL import Image
from sdr_mm.images import read_rgb, resize_and_crop
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
resize_and_crop(np.zeros((300, 400, 3), np.uint8), 256, 224)
before = peak()
for height, width in ((1, 8000), (16000, 1), (2, 500_000)):
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 2:, width // 2:] = 200  # the edge is in the middle
    Image.fromarray(pixels).save(sys.argv[1])
    crop = resize_and_crop(read_rgb(sys.argv[1]), 256, 224)
    assert crop.shape == (224, 224, 3) and crop.min() < 50 and crop.max() > 150, (crop.min(), crop.max())
print(peak() - before)
""")
    run = subprocess.run([sys.executable, script, tmp_path / 'strip.png'], capture_output=True, text=True, check=True,
                         env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert int(run.stdout) < 100, f'{run.stdout} MB'


@pytest.fixture
def files(tmp_path):
    """Eight gray images, the third of which is none."""
    for number in range(8):
        Image.new('L', (5, 4), 10 * number).save(tmp_path / f'{number}.png')
    (tmp_path / '2.png').write_bytes(b'no image')
    return sorted(tmp_path.iterdir())


def test_images_that_cannot_be_decoded_are_left_out_with_the_reason(files):
    store = ImageStore(files, resize=4, size=4, on_error='skip')
    assert store.get(np.arange(8))[:, 0, 0, 0].tolist() == [0, 10, 30, 40, 50, 60, 70]
    assert store.failed == {2: f'image {files[2]} cannot be decoded (not an image in a known format)'}
    with pytest.raises(InputError, match=r'2\.png cannot be decoded'):
        ImageStore(files, resize=4, size=4).get(np.arange(8))
    with pytest.raises(InputError, match="'stop' or 'skip', got 'ignore'"):
        ImageStore(files, on_error='ignore')


def test_some_images_may_be_read_ahead_by_themselves(files):
    store = ImageStore(files, resize=4, size=4, on_error='skip', workers=3)
    assert store.read_all(indices=np.array([5, 2, 1])).tolist() == [5, 1]
    assert np.flatnonzero(store._ready).tolist() == [1, 5] and set(store.failed) == {2}
    assert store.read_all().tolist() == [0, 1, 3, 4, 5, 6, 7]


def test_the_caller_may_say_how_files_are_read(files):
    store = ImageStore(files[3:5], resize=4, size=4, read=lambda path: 255 - read_rgb(path))
    assert store.get(np.array([1, 0]))[:, 0, 0, 0].tolist() == [215, 225]


@pytest.mark.parametrize('room', [{}, {'memory': 0, 'disk': 0}], ids=['kept', 'decoded again'])
def test_batches_come_in_order_whichever_is_decoded_first(files, room):
    store = ImageStore(files, resize=4, size=4, on_error='skip', **room)
    for _ in range(2):
        batches = list(store.batches(np.array([7, 2, 0, 4, 1]), 2, mean=(0, 0, 0), std=(10, 10, 10)))
        assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [[7], [0, 4], [1]]
    assert list(store.batches(np.array([2]), 4)) == [] and list(store.batches(np.array([], int), 4)) == []


def test_the_next_batch_is_decoded_while_the_caller_works(files):
    begun = threading.Event()

    def read(path):
        if path == files[5]:
            begun.set()
        return read_rgb(path)

    batches = ImageStore(files, resize=4, size=4, on_error='skip', read=read).batches(np.array([4, 5, 6]), 1)
    assert not begun.is_set()
    next(batches)
    assert begun.wait(timeout=20), 'the second image is read before it is asked for'


def test_an_image_that_cannot_be_decoded_stops_at_its_batch(files):
    batches = ImageStore(files, resize=4, size=4).batches(np.array([0, 1, 2]), 1)
    first, second = next(batches), next(batches)
    assert (first < second).all()
    with pytest.raises(InputError, match=r'2\.png cannot be decoded'):
        next(batches)
