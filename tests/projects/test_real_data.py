"""Real data sets: what is taken from the packages, how it is labeled, and that a folder is whole or not there."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from package_files import make_deb, make_tgz, sha256
from PIL import Image, UnidentifiedImageError

from projects import real_data as real
from projects.real_data import aerial, emoji, open_clip_art, prepare, silhouettes, solar_cells, sweet_home, wesnoth
from projects.real_data.aerial import Box, read_boxes
from projects.real_data.data_set import to_square
from projects.real_data.emoji import code_points
from projects.real_data.packages import fetch
from projects.real_data.preparation import default_folder, fingerprint
from projects.real_data.silhouettes import read_array
from projects.real_data.solar_cells import cell_classes
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task


def encode(color: tuple[int, ...], form: str = 'PNG') -> bytes:
    buffer = io.BytesIO()
    Image.new('RGBA', (16, 16), color).save(buffer, form, lossless=True)
    return buffer.getvalue()


EMOJI = {  # file name in the Google package: category, subcategory
    '1f600': ('Smileys & Emotion', 'face-smiling'),
    '1f44d': ('People & Body', 'hand-fingers-closed'),
    '0023-fe0f-20e3': ('Symbols', 'keycap'),
    '1f435': ('Animals & Nature', 'animal-mammal'),
    '1f3fb': ('Component', 'skin-tone')}
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
        """An npm package of the emoji."""
        self.lay(emoji, constant, make_tgz({f'package/{name}': data for name, data in files.items()}))

    def lay(self, module: ModuleType, constant: str, archive: bytes) -> None:
        """Makes ``archive`` the file of a package wherever the package is named."""
        old = getattr(module, constant)
        new = replace(old, sha256=sha256(archive))
        path = self.cache / 'packages' / new.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive)
        self.monkeypatch.setattr(module, constant, new)
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
    names = {f'1f4{n:02x}': 'animal-bird' for n in range(emoji.FINE_MINIMUM)}
    names |= {f'1f5{n:02x}': 'animal-bug' for n in range(emoji.FINE_MINIMUM - 1)}
    table = [{'image': f'{n}.png', 'category': 'Animals & Nature', 'subcategory': s} for n, s in names.items()]
    registry.put('GOOGLE', {'emoji.json': json.dumps(table).encode()})
    registry.put('FLUENT', {f'assets/{name}.webp': RED for name in names})
    data = prepare(tmp_path / 'out', names=['fluent_fine'], size=16, cache=registry.cache)
    assert data.counts == {'fluent_fine': {'animal_bird': emoji.FINE_MINIMUM}}


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


def test_invisible_colors_do_not_bleed_into_the_edge() -> None:
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


def test_data_set_that_came_later_moved_nothing() -> None:
    # The folder and the recipe that the first release made with the demo's options.
    recipe = 'a48a54f489761843a99199b4229f1feb3fe22dffb312ff0cba4a366408ac3355'
    options = real.Options(max_per_class=150)
    assert fingerprint('animal_silhouettes', options) == recipe
    assert default_folder(options) == 'images-64px-a2ae13ac'


def test_default_folder_belongs_to_the_options(registry: Registry) -> None:
    small = prepare(names=['pool'], size=16, cache=registry.cache)
    large = prepare(names=['pool'], size=32, cache=registry.cache)
    assert small.pool != large.pool and small.pool.is_relative_to(registry.cache)


def test_every_folder_names_its_sources(registry: Registry, tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['pool'], size=16, cache=registry.cache)
    text = (data.pool / real.ATTRIBUTION).read_text(encoding='utf-8')
    assert text == data.sources
    for license in ('Apache-2.0', 'CC-BY-4.0', 'CC-BY-SA-4.0'):
        assert f'License: {license}.' in text


@pytest.mark.parametrize('arguments, message', [
    ({'names': ['imagenet']}, "no data set 'imagenet'"),
    ({'size': 0}, 'size of the images is 0'),
    ({'max_per_class': 0}, 'max_per_class is 0')])
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
    'a list': gzip.compress(pickle.dumps([1, 2]))}


@pytest.mark.parametrize('data', NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_anything_but_an_array_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match='here is not'):
        read_array(data, 'here')


def test_silhouettes_from_their_real_package(tmp_path: Path) -> None:
    path = fetch(silhouettes.SILHOUETTES, tmp_path)
    pictures = silhouettes.animal_silhouettes({silhouettes.SILHOUETTES: path}, real.Options())
    assert len(pictures) == len({picture.data for picture in pictures}) == 9716
    data = prepare(tmp_path / 'out', names=['animal_silhouettes'], size=28, max_per_class=3, cache=tmp_path)
    assert data.counts['animal_silhouettes'] == dict.fromkeys(silhouettes.ANIMALS, 3)
    found = images(data.tasks['animal_silhouettes'])
    assert len(found) == 30
    for name in found:
        with Image.open(data.tasks['animal_silhouettes'] / name) as image:
            assert image.size == (28, 28) and image.mode == 'RGB'


@pytest.mark.slow
def test_solar_cells_from_their_real_package(tmp_path: Path) -> None:
    data = prepare(tmp_path / 'out', names=['solar_cells'], size=16, cache=tmp_path)
    assert data.counts['solar_cells'] == {
        'mono_0': 588, 'mono_100': 313, 'mono_33': 117, 'mono_67': 56,
        'poly_0': 920, 'poly_100': 402, 'poly_33': 178, 'poly_67': 50}
    folder = data.tasks['solar_cells']
    found = [Path(name).parts for name in images(folder)]
    assert len(found) == 2624
    # Two kinds of cells in one module would mean that its borders are wrong.
    kinds = {(label.split('_')[0], module) for _, label, module, _ in found}
    assert sorted(kind for kind, _ in kinds) == ['mono'] * 18 + ['poly'] * 26
    assert len({(part, module) for part, _, module, _ in found}) == 44
    task = Task.from_folder(folder)
    assert [len(part) for part in (*task.splits[0].choosing(), task.splits[0].test)] == [1472, 420, 732]
    for part in (*task.splits[0].choosing(), task.splits[0].test):
        assert np.bincount(task.labels[part], minlength=8).min() >= 6


def sprite(seed: int, visible: int = 72 * 72) -> bytes:
    """A picture of its own, of which so many pixels are not transparent."""
    pixels = np.random.default_rng(seed).integers(0, 256, (72, 72, 4), np.uint8)
    pixels[..., 3] = np.where(np.arange(72 * 72).reshape(72, 72) < visible, 255, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def lay_sprites(registry: Registry, sprites: dict[str, bytes]) -> None:
    others = {'usr/share/doc/readme.png': sprite(90), f'{wesnoth.FOLDER}unit.cfg': b'not a sprite'}
    registry.lay(wesnoth, 'WESNOTH', make_deb({f'{wesnoth.FOLDER}{n}': s for n, s in sprites.items()} | others))


def test_frames_of_one_unit_lie_in_one_folder(registry: Registry, tmp_path: Path) -> None:
    names = ['orcs/grunt.png', 'orcs/grunt-attack-1.png', 'orcs/archer.png', 'elves-wood/archer+female-bow-1.png',
             'dunefolk/burner/firetrooper_fire1.png', 'dunefolk/burner/burner-se.png', 'woses/wose.png',
             'woses/wose-die-1.png', 'woses/wose-elder-die-1.png', 'woses/elder-wose-die-2.png']
    lay_sprites(registry, {name: sprite(seed) for seed, name in enumerate(names)})
    data = prepare(tmp_path / 'out', names=['wesnoth_race'], cache=registry.cache)
    assert images(data.tasks['wesnoth_race']) == sorted([
        'orcs/grunt/grunt.png', 'orcs/grunt/grunt-attack-1.png', 'orcs/archer/archer.png',
        'elves_wood/archer/archer+female-bow-1.png', 'dunefolk/burner/firetrooper_fire1.png',
        'dunefolk/burner/burner-se.png', 'woses/wose/wose.png', 'woses/wose/wose-die-1.png',
        'woses/elder/wose-elder-die-1.png', 'woses/elder/elder-wose-die-2.png'])
    assert data.counts['wesnoth_race'] == {'dunefolk': 2, 'elves_wood': 1, 'orcs': 3, 'woses': 4}


def test_unit_is_never_told_apart_by_a_later_word() -> None:
    units = {wesnoth.unit_of(PurePosixPath(f'drakes/{name}.png')) for name in ('sky', 'sky-fly-1', 'sky+x', 'sky~2')}
    assert units == {'sky'}


def test_sprite_that_two_units_share_is_there_once_and_glows_are_not(registry: Registry, tmp_path: Path) -> None:
    shared = Image.open(io.BytesIO(sprite(1)))
    again = io.BytesIO()
    shared.save(again, 'PNG', compress_level=1)  # other bytes, the same pixels
    lay_sprites(registry, {
        'undead/soulless-die-4.png': sprite(1), 'undead/zombie-die-4.png': again.getvalue(),
        'undead/glow.png': sprite(2, visible=wesnoth.VISIBLE_PIXELS - 1),
        'undead/ghost.png': sprite(3, visible=wesnoth.VISIBLE_PIXELS),
        'transport/boat.png': sprite(4), 'unknown-unit.png': sprite(5)})
    data = prepare(tmp_path / 'out', names=['wesnoth_race'], cache=registry.cache)
    assert images(data.tasks['wesnoth_race']) == ['undead/ghost/ghost.png', 'undead/soulless/soulless-die-4.png']


def catalog(items: dict[str, str], folder: str) -> bytes:
    """A catalog of furniture: category by icon, and what else is in one."""
    lines = ['# icon#1=/no.png', 'name=Catalog']
    for number, (icon, category) in enumerate(items.items(), start=1):
        lines += [f'category#{number}={category}', f'name#{number}=caf\\u00e9', f'icon#{number}=/{folder}/{icon}.png',
                  f'model#{number}=/{folder}/{icon}/{icon}.obj']
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('PluginFurnitureCatalog.properties', '\n'.join(lines).encode('latin-1'))
        archive.writestr('PluginFurnitureCatalog_de.properties', b'category#1=K\xfcche')
        for icon in items:
            archive.writestr(f'{folder}/{icon}.png', RED)
            archive.writestr(f'{folder}/{icon}/texture.png', RED)
    return buffer.getvalue()


def test_furniture_is_labeled_by_its_catalogs(registry: Registry, tmp_path: Path) -> None:
    kitchen = {f'oven{number}': 'Kitchen' for number in range(sweet_home.MINIMUM - 1)}
    doors = {f'door{number}': 'Doors and windows' for number in range(sweet_home.MINIMUM - 1)}
    registry.lay(sweet_home, 'SWEET_HOME', make_deb({
        f'{sweet_home.FOLDER}Scopia.sh3f': catalog(kitchen | doors, 'scopia'),
        f'{sweet_home.FOLDER}KatorLegaz.sh3f': catalog({'oven0': 'Kitchen'}, 'katorlegaz'),
        'usr/share/doc/copyright': b'CC-BY'}))
    data = prepare(tmp_path / 'out', names=['sweet_home'], cache=registry.cache)
    # Two catalogs have an icon of the same name; one category has too few items.
    assert data.counts == {'sweet_home': {'kitchen': sweet_home.MINIMUM}}
    assert images(data.tasks['sweet_home']) == sorted(
        ['kitchen/katorlegaz-oven0.png', *(f'kitchen/scopia-{icon}.png' for icon in kitchen)])


def clip_art(seed: int, size: tuple[int, int] = (8, 4)) -> bytes:
    """A small drawing whose header says that it has the given width and height."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 8, 3), np.uint8)).save(buffer, 'PNG')
    data = buffer.getvalue()
    return data[:16] + b''.join(side.to_bytes(4, 'big') for side in size) + data[24:]


def test_clip_art_is_labeled_by_its_topmost_folder(registry: Registry, tmp_path: Path) -> None:
    number = open_clip_art.MINIMUM
    names = [f'signs_and_symbols/flags/f{index:02}' for index in range(number)]
    names += [f'unsorted/u{index}' for index in range(number)] + [f'logos/l{index}' for index in range(number - 1)]
    files = {f'{open_clip_art.FOLDER}{name}.png': clip_art(seed) for seed, name in enumerate(names)}
    again = {f'{open_clip_art.FOLDER}signs_and_symbols/again.png': clip_art(0),
             f'{open_clip_art.FOLDER}signs_and_symbols/bomb.png': clip_art(200, (20990, 29700)),
             'usr/share/doc/readme.png': clip_art(201)}
    registry.lay(open_clip_art, 'OPEN_CLIP_ART', make_deb(files | again))
    data = prepare(tmp_path / 'out', names=['open_clip_art'], cache=registry.cache)
    assert data.counts == {'open_clip_art': {'signs_and_symbols': number}}
    # Of a file that is there twice the first one by name stays.
    assert images(data.tasks['open_clip_art']) == sorted(
        ['signs_and_symbols/again.png', *(f'signs_and_symbols/flags-f{index:02}.png' for index in range(1, number))])


def make_wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return buffer.getvalue()


def lay_cells(registry: Registry, lines: list[str], pictures: int) -> None:
    """A wheel with a table of labels, as many gray pictures, and code that nobody reads."""
    cells = {f'{solar_cells.FOLDER}images/cell{number:04d}.png': gray(number) for number in range(1, pictures + 1)}
    table = ''.join(f'{line}\n' for line in lines).encode()
    registry.lay(solar_cells, 'SOLAR_CELLS', make_wheel(
        {'elpv_dataset/utils.py': b'raise SystemExit', solar_cells.TABLE: table, **cells}))


def gray(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new('L', (30, 30), value).save(buffer, 'PNG')
    return buffer.getvalue()


CELLS = [
    'images/cell0001.png  1.0                 mono', 'images/cell0002.png  0.3333333333333333  mono',
    'images/cell0003.png  0.6666666666666666  poly', 'images/cell0004.png  0.0                 poly',
    'images/cell0005.png  0.0                 poly']


def small_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cells in the first module, one in the second, two in the third, for these parts."""
    monkeypatch.setattr(solar_cells, 'SIZES', (2, 1, 2))
    monkeypatch.setattr(solar_cells, 'TEST', (2,))
    monkeypatch.setattr(solar_cells, 'VAL', (1,))


def test_cells_are_labeled_and_a_module_is_in_one_part(registry: Registry, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    small_modules(monkeypatch)
    lay_cells(registry, CELLS, len(CELLS))
    data = prepare(tmp_path / 'out', names=['solar_cells'], size=16, cache=registry.cache)
    assert data.counts == {'solar_cells': {'mono_100': 1, 'mono_33': 1, 'poly_0': 2, 'poly_67': 1}}
    assert images(data.tasks['solar_cells']) == [
        'test/poly_0/module_02/cell0004.png', 'test/poly_0/module_02/cell0005.png',
        'train/mono_100/module_00/cell0001.png', 'train/mono_33/module_00/cell0002.png',
        'val/poly_67/module_01/cell0003.png']
    with Image.open(data.tasks['solar_cells'] / 'val' / 'poly_67' / 'module_01' / 'cell0003.png') as cell:
        assert cell.mode == 'RGB' and cell.getpixel((0, 0)) == (3, 3, 3)


def test_cells_whose_modules_are_not_known_are_refused(registry: Registry, tmp_path: Path) -> None:
    lay_cells(registry, CELLS, len(CELLS))
    with pytest.raises(InputError, match='has 5 cells instead of 2,624') as error:
        prepare(tmp_path / 'out', names=['solar_cells'], cache=registry.cache)
    assert '\n' not in str(error.value)


def test_modules_of_cells_are_as_many_as_published() -> None:
    assert len(solar_cells.SIZES) == 44 and sum(solar_cells.SIZES) == 2624
    assert not set(solar_cells.TEST) & set(solar_cells.VAL)


def test_folder_of_the_cells_says_what_their_license_forbids(registry: Registry, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    small_modules(monkeypatch)
    lay_cells(registry, CELLS, len(CELLS))
    data = prepare(tmp_path / 'out', names=['solar_cells'], size=16, cache=registry.cache)
    text = (data.tasks['solar_cells'] / real.ATTRIBUTION).read_text(encoding='utf-8')
    for words in ('CC-BY-NC-SA-4.0', 'no commercial use', 'weights trained on them', 'Deitsch'):
        assert words in text


def test_cell_without_its_picture_ends_with_one_line(registry: Registry, tmp_path: Path) -> None:
    lay_cells(registry, CELLS, len(CELLS) - 1)
    with pytest.raises(InputError, match='lists images/cell0005.png, which is not in the package') as error:
        prepare(tmp_path / 'out', names=['solar_cells'], cache=registry.cache)
    assert '\n' not in str(error.value) and os.listdir(tmp_path / 'out') == []


@pytest.mark.parametrize('table, message', [
    (b'', 'here has no labels'),
    (b'images/cell0001.png 1.0 mono\nimages/cell0002.png 1.0\n', r"line 2 of here is 'images/cell0002.png 1.0'"),
    (b'images/cell0001.png 0.5 mono', 'line 1 of here is'),
    (b'images/cell0001.png nan mono', 'line 1 of here is'),
    (b'images/cell0001.png 1.0 thin', 'line 1 of here is'),
    (b'images/../../cell0001.png 1.0 mono', 'line 1 of here is'),
    (b'\xff\xfe\x00images', 'line 1 of here is'),
    (b'images/cell0001.png 1.0 mono\nimages/cell0001.png 0.0 mono\n', 'line 2 of here has images/cell0001.png again')])
def test_table_of_cells_that_cannot_be_is_refused(table: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        cell_classes(table, 'here')
    assert '\n' not in str(error.value)


def annotation(boxes: list[tuple[int, int, int, int]]) -> bytes:
    sides = ('xmin', 'ymin', 'xmax', 'ymax')
    corners = [''.join(f'<{side}>{value}</{side}>' for side, value in zip(sides, box)) for box in boxes]
    objects = [f'<object><name>Dead</name><bndbox>{entry}</bndbox></object>' for entry in corners]
    return f'<annotation>{"".join(objects)}</annotation>'.encode()


def lay_photos(registry: Registry, boxes: dict[str, list[tuple[int, int, int, int]]]) -> None:
    """Photos of 950 × 450 pixels, and one of 400 × 2100, in which the red value grows from left to right."""
    files: dict[str, bytes] = {}
    for stem, photo in aerial.PHOTOS.items():
        height, width = (2100, 400) if photo == aerial.TRAIN else (450, 950)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = np.arange(width) // 4
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, 'PNG')
        files |= {f'{aerial.FOLDER}{stem}.png': buffer.getvalue(),
                  f'{aerial.FOLDER}{stem}.xml': annotation(boxes.get(photo, [(0, 0, 9, 9)]))}
    registry.lay(aerial, 'DEEPFOREST', make_wheel(files))


def boxes_in(folder: Path, name: str) -> list[list[int]]:
    root = ElementTree.parse(folder / 'Annotations' / f'{name}.xml').getroot()
    assert {entry.findtext('name') for entry in root.iter('object')} == {'Tree'}
    return [[int(side.text or '') for side in box] for box in root.iter('bndbox')]


def test_photos_become_tiles_with_the_whole_boxes(registry: Registry, tmp_path: Path) -> None:
    lay_photos(registry, {aerial.TEST: [
        (390, 10, 400, 400),  # ends where the first tile ends
        (400, 5, 430, 25), (399, 5, 430, 25),  # the second one begins at 399: both tiles have a part of it
        (900, 0, 950, 30),  # in the third tile, 150 pixels wide
        (10, 410, 20, 420)]})  # below all tiles: 50 pixels are not one
    data = prepare(tmp_path / 'out', names=['aerial_trees'], cache=registry.cache)
    folder = data.folders['aerial_trees']
    assert data.tasks == {}
    # VOC counts from 1 and includes the last pixel.
    assert boxes_in(folder, 'yell_541000_x0000_y0000') == [[391, 11, 400, 400]]
    assert boxes_in(folder, 'yell_541000_x0400_y0000') == [[1, 6, 30, 25]]
    assert boxes_in(folder, 'yell_541000_x0800_y0000') == [[101, 1, 150, 30]]
    with Image.open(folder / 'JPEGImages' / 'yell_541000_x0800_y0000.jpg') as tile:
        assert tile.size == (150, 400)
        assert np.abs(np.asarray(tile)[0, :, 0].astype(int) - np.arange(800, 950) // 4).max() <= 3
    size = ElementTree.parse(folder / 'Annotations' / 'yell_541000_x0800_y0000.xml').getroot().find('size')
    assert size is not None and [side.text for side in size] == ['150', '400', '3']


def test_mosaic_for_the_test_is_in_no_other_split(registry: Registry, tmp_path: Path) -> None:
    lay_photos(registry, {
        aerial.TRAIN: [(0, 1500, 9, 1509), (0, 1600, 9, 1609)], aerial.TEST: [(0, 0, 9, 9), (500, 0, 509, 9)]})
    data = prepare(tmp_path / 'out', names=['aerial_trees'], cache=registry.cache)
    main = data.folders['aerial_trees'] / 'ImageSets' / 'Main'
    lists = {path.stem: path.read_text().split() for path in main.iterdir()}
    assert lists['train'] == ['osbs_029_x0000_y0000', 'soap_061_x0000_y0000', 'yell_528000_x0000_y1200']
    assert lists['val'] == ['yell_528000_x0000_y1600']
    assert lists['trainval'] == sorted(lists['train'] + lists['val'])
    assert lists['test'] == ['yell_541000_x0000_y0000', 'yell_541000_x0400_y0000']
    assert data.counts['aerial_trees'] == {'train': 3, 'val': 1, 'test': 2}


def test_size_of_the_pictures_does_not_matter_to_photos(registry: Registry, tmp_path: Path) -> None:
    lay_photos(registry, {})
    first = prepare(tmp_path / 'out', names=['aerial_trees'], size=16, cache=registry.cache)
    assert prepare(tmp_path / 'out', names=['aerial_trees'], size=32, cache=registry.cache) == first


def test_boxes_are_read_as_they_are() -> None:
    corners = [(0, 0, 40, 30), (1, 2, 3, 4)]
    assert read_boxes(annotation(corners), (40, 30), 'here') == [Box(*corner) for corner in corners]


@pytest.mark.parametrize('data, message', [
    (annotation([(0, 0, 41, 30)]), r'here has the box \(0, 0, 41, 30\), which is empty or leaves the image of 40 × 30'),
    (annotation([(-1, 0, 4, 4)]), 'leaves the image'),
    (annotation([(4, 0, 4, 4)]), 'is empty'),
    (b'<annotation><object><bndbox/></object></annotation>', 'here is not an annotation'),
    (b'<annotation>', 'here is not an annotation')])
def test_annotation_that_cannot_be_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_boxes(data, (40, 30), 'here')
    assert '\n' not in str(error.value)
