"""Real data sets: what is taken from the packages, how it is labelled, and that a folder is whole or not there."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from sdr_mm.datasets import real
from sdr_mm.datasets.packages import fetch
from sdr_mm.datasets.real import code_points, prepare, read_array, to_square
from sdr_mm.errors import InputError


def encode(color: tuple[int, ...], form: str = 'PNG') -> bytes:
    buffer = io.BytesIO()
    Image.new('RGBA', (16, 16), color).save(buffer, form, lossless=True)
    return buffer.getvalue()


EMOJI = {  # file name in the Google package: category, subcategory
    '1f600': ('Smileys & Emotion', 'face-smiling'),
    '1f44d': ('People & Body', 'hand-fingers-closed'),
    '0023-fe0f-20e3': ('Symbols', 'keycap'),
    '1f435': ('Animals & Nature', 'animal-mammal'),
    '1f3fb': ('Component', 'skin-tone'),
}
RED = encode((255, 0, 0, 255))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>'


class Registry:
    """Small packages of the real ones' structure, laid into a cache as if they had been fetched."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.monkeypatch = cache, monkeypatch
        table = [{'image': f'{n}.png', 'category': c, 'subcategory': s} for n, (c, s) in EMOJI.items()]
        pictures = {f'{name}.png': RED for name in [*EMOJI, '1f44d-1f3fb']}
        google = {f'img/google/64/{name}': data for name, data in pictures.items()}
        twitter = {f'img/twitter/64/{name}': data for name, data in pictures.items()}
        self.put('GOOGLE', google | {'emoji.json': json.dumps(table).encode()})
        self.put('TWITTER', twitter | {'img/twitter/sheets/16.png': b'sheet'})
        self.put('OPENMOJI', {'color/svg/1F600.svg': SVG, 'color/svg/1F44D-1F3FB.svg': SVG, 'black/svg/1F600.svg': SVG})
        names = ['1f600', '1f44d', '1f44d-1f3fb', '0023-fe0f-20e3', '23-fe0f-20e3', '1f435', '1fae8', '1f3fb']
        self.put('FLUENT', {f'assets/{name}.webp': encode((0, 0, 255, 128), 'WEBP') for name in names})

    def put(self, constant: str, files: dict[str, bytes]) -> None:
        old = getattr(real, constant)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(f'package/{name}')
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        new = replace(old, sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
        path = self.cache / 'packages' / new.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        self.monkeypatch.setattr(real, constant, new)
        for name, data_set in real.DATA_SETS.items():
            packages = tuple(new if package == old else package for package in data_set.packages)
            self.monkeypatch.setitem(real.DATA_SETS, name, replace(data_set, packages=packages))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(tmp_path / 'cache', monkeypatch)


def images(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))


def test_labels_come_from_the_code_points(registry: Registry, tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['fluent_category'], size=16, cache=registry.cache)
    # Tones and their variants are dropped; the keycap, spelled in two ways, is there once; 1fae8 has no label.
    assert images(data.tasks['fluent_category']) == [
        'animals_and_nature/1f435.png', 'people_and_body/1f44d.png', 'smileys_and_emotion/1f600.png',
        'symbols/0023-fe0f-20e3.png']
    assert data.counts['fluent_category'] == {
        'animals_and_nature': 1, 'people_and_body': 1, 'smileys_and_emotion': 1, 'symbols': 1}


def test_fine_task_keeps_the_classes_with_enough_images(registry: Registry, tmp_path: Path) -> None:
    names = {f'1f4{n:02x}': 'animal-bird' for n in range(real.FINE_MINIMUM)}
    names |= {f'1f5{n:02x}': 'animal-bug' for n in range(real.FINE_MINIMUM - 1)}
    table = [{'image': f'{n}.png', 'category': 'Animals & Nature', 'subcategory': s} for n, s in names.items()]
    registry.put('GOOGLE', {'emoji.json': json.dumps(table).encode()})
    registry.put('FLUENT', {f'assets/{name}.webp': RED for name in names})
    data = prepare(tmp_path / 'out', names=['fluent_fine'], size=16, cache=registry.cache)
    assert data.counts == {'fluent_fine': {'animal_bird': real.FINE_MINIMUM}}


def test_pool_is_flat_and_without_skin_tones_unless_asked_for(registry: Registry, tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['pool'], size=16, cache=registry.cache)
    assert data.counts['pool'] == {'google': 4, 'openmoji': 1, 'twitter': 4}
    assert 'openmoji-1f600.png' in images(data.pool) and 'google-1f600.png' in images(data.pool)
    both = prepare(tmp_path / 'tones', names=['pool'], size=16, skin_tones=True, cache=registry.cache)
    assert both.counts['pool'] == {'google': 6, 'openmoji': 2, 'twitter': 6}


def test_pictures_lie_on_white(registry: Registry, tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['pool', 'fluent_category'], size=32, cache=registry.cache)
    with Image.open(data.pool / 'openmoji-1f600.png') as drawn:
        assert drawn.mode == 'RGB' and drawn.size == (32, 32)
        assert drawn.getpixel((0, 0)) == (255, 255, 255) and drawn.getpixel((16, 16)) == (0, 0, 0)
    with Image.open(data.tasks['fluent_category'] / 'symbols' / '0023-fe0f-20e3.png') as half:
        # Blue with alpha 128 on white: 255 · (1 - 128/255) = 127.
        assert half.getpixel((16, 16)) == (127, 127, 255)


def test_invisible_colours_do_not_bleed_into_the_edge() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 0)  # red that nobody sees
    pixels[:, 4:] = (0, 0, 0, 255)
    small = np.asarray(to_square(Image.fromarray(pixels), 4))
    assert (small[..., 0] == small[..., 1]).all() and (small[..., 1] == small[..., 2]).all()


def test_wide_picture_keeps_its_proportions() -> None:
    square = np.asarray(to_square(Image.new('L', (40, 20), 0), 20))
    assert (square[5:15] == 0).all() and (square[:5] == 255).all() and (square[15:] == 255).all()


def test_picture_of_the_right_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert (np.asarray(to_square(Image.fromarray(pixels), 16)) == pixels).all()


def test_second_call_touches_nothing(registry: Registry, tmp_path: Path) -> None:
    def prepared() -> tuple[real.PreparedData, dict[Path, int]]:
        data = prepare(tmp_path / 'out', names=['pool', 'fluent_category'], size=16, cache=registry.cache)
        return data, {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')}

    first, before = prepared()
    for package in (registry.cache / 'packages').iterdir():
        package.unlink()  # nor does it need them
    second, after = prepared()
    assert first == second and before == after


def test_interrupted_call_leaves_nothing_half_and_the_next_goes_on(registry: Registry, tmp_path: Path) -> None:
    registry.put('FLUENT', {'assets/1f600.webp': RED, 'assets/1f435.webp': b'not a picture'})
    with pytest.raises(UnidentifiedImageError):
        prepare(tmp_path / 'out', names=['pool', 'fluent_category'], size=16, cache=registry.cache)
    assert os.listdir(tmp_path / 'out') == ['pool']
    before = (tmp_path / 'out' / 'pool').stat().st_mtime_ns
    registry.put('FLUENT', {'assets/1f600.webp': RED})
    data = prepare(tmp_path / 'out', names=['pool', 'fluent_category'], size=16, cache=registry.cache)
    assert sorted(os.listdir(tmp_path / 'out')) == ['fluent_category', 'pool']
    assert data.pool.stat().st_mtime_ns == before


def test_folder_of_somebody_else_or_of_other_options_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    mine = tmp_path / 'out' / 'pool' / 'mine.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(RED)
    with pytest.raises(InputError, match='was not prepared with these options'):
        prepare(tmp_path / 'out', names=['pool'], size=16, cache=registry.cache)
    assert mine.read_bytes() == RED
    prepare(tmp_path / 'out', names=['fluent_category'], size=16, cache=registry.cache)
    with pytest.raises(InputError, match='was not prepared with these options'):
        prepare(tmp_path / 'out', names=['fluent_category'], size=32, cache=registry.cache)


def test_default_folder_belongs_to_the_options(registry: Registry) -> None:
    small = prepare(names=['pool'], size=16, cache=registry.cache)
    large = prepare(names=['pool'], size=32, cache=registry.cache)
    assert small.pool != large.pool and small.pool.is_relative_to(registry.cache)


def test_every_folder_names_its_sources(registry: Registry, tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['pool'], size=16, cache=registry.cache)
    text = (data.pool / real.ATTRIBUTION).read_text(encoding='utf-8')
    assert text == data.sources
    for licence in ('Apache-2.0', 'CC-BY-4.0', 'CC-BY-SA-4.0'):
        assert f'Licence: {licence}.' in text


@pytest.mark.parametrize('arguments, message', [
    ({'names': ['imagenet']}, "no data set 'imagenet'"),
    ({'size': 0}, 'size of the images is 0'),
    ({'max_per_class': 0}, 'max_per_class is 0'),
])
def test_wrong_choice_ends_with_one_line(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


def test_same_emoji_is_found_under_each_spelling() -> None:
    assert code_points('0023-fe0f-20e3.png') == code_points('23-FE0F-20E3') == (0x23, 0x20E3)
    assert code_points('1f3f4-e0067_e0062') == code_points('1f3f4-e0067-e0062')


def test_array_is_read_back() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (read_array(gzip.compress(pickle.dumps(array, protocol=4)), 'here') == array).all()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.path}',)


def test_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path: Path) -> None:
    data = gzip.compress(pickle.dumps(Evil(tmp_path / 'was_here')))
    with pytest.raises(InputError, match='system is not part of an array'):
        read_array(data, 'here')
    assert not (tmp_path / 'was_here').exists()


NO_ARRAYS = {
    'nothing': b'',
    'not gzip': b'not gzip',
    'not a pickle': gzip.compress(b'not a pickle'),
    'a list': gzip.compress(pickle.dumps([1, 2])),
}


@pytest.mark.parametrize('data', NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_anything_but_an_array_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match='here is not'):
        read_array(data, 'here')


def test_silhouettes_from_their_real_package(tmp_path: Path) -> None:
    path = fetch(real.SILHOUETTES, tmp_path)
    pictures = real.DATA_SETS['animal_silhouettes'].pictures({real.SILHOUETTES: path}, real.Options())
    assert len(pictures) == len({picture.data for picture in pictures}) == 9716
    data = prepare(tmp_path / 'out', names=['animal_silhouettes'], size=28, max_per_class=3, cache=tmp_path)
    assert data.counts['animal_silhouettes'] == dict.fromkeys(real.ANIMALS, 3)
    found = images(data.tasks['animal_silhouettes'])
    assert len(found) == 30
    for name in found:
        with Image.open(data.tasks['animal_silhouettes'] / name) as image:
            assert image.size == (28, 28) and image.mode == 'RGB'
