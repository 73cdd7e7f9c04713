"""Small real data sets, made of pictures that package registries ship.

A pool without labels (three families of emoji) and downstream tasks with labels (another family of
emoji, silhouettes of animals). ``docs/data.md`` says what they are and who made them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..cli import progress
from ..errors import InputError
from .packages import Package, cache_folder, fetch, read_members

GOOGLE = Package(
    'npm', 'emoji-datasource-google', '16.0.0',
    'fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438', 74.3,
    'Apache-2.0', 'Noto Emoji, Google; packaged (with emoji.json, MIT) by Cal Henderson',
)
TWITTER = Package(
    'npm', 'emoji-datasource-twitter', '16.0.0',
    'f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877', 61.7,
    'CC-BY-4.0', 'Twemoji, Twitter, Inc. and other contributors; packaged by Cal Henderson',
)
OPENMOJI = Package(
    'npm', 'openmoji', '17.0.0',
    '55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68', 4.3,
    'CC-BY-SA-4.0', 'All emojis designed by OpenMoji, the open-source emoji and icon project',
)
FLUENT = Package(
    'npm', '@lobehub/fluent-emoji-3d', '1.1.0',
    'c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58', 15.8,
    'MIT', 'Fluent Emoji, Microsoft Corporation; packaged by LobeHub',
)
SILHOUETTES = Package(
    'pypi', 'animal-mnist', '0.4',
    'aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce', 2.6,
    'MIT', 'Animal-MNIST, Sina Mohammadi',
)

MARKER = 'prepared.json'
ATTRIBUTION = 'ATTRIBUTION.txt'
FINE_CATEGORIES = ('Animals & Nature', 'Food & Drink')
# Below this a class has too few images to be split; 14 leaves 11 of the 15 subcategories.
FINE_MINIMUM = 14
ANIMALS = ('bear', 'bird', 'cat', 'cow', 'dog', 'elephant', 'giraffe', 'horse', 'sheep', 'zebra')
# Raise it when the same packages and options give other images than before.
RECIPE_VERSION = 1


@dataclass(frozen=True)
class Options:
    """What can be chosen about the prepared images.

    Attributes:
        size (int): Width and height of the images in pixels. Defaults to 64.
        skin_tones (bool): Whether the pool holds the skin-tone variants too, which are about half of
            two of its families and near-duplicates of the rest. Defaults to False.
        max_per_class (int | None): At most so many images a class of a task, spread evenly over
            those there are. Defaults to None, all.
    """

    size: int = 64
    skin_tones: bool = False
    max_per_class: int | None = None

    def __post_init__(self) -> None:
        if self.size < 8:
            raise InputError(f'the size of the images is {self.size}: give at least 8 pixels')
        if self.max_per_class is not None and self.max_per_class < 1:
            raise InputError(f'max_per_class is {self.max_per_class}: give at least 1 image, or leave it out for all')


@dataclass(frozen=True)
class PreparedData:
    """The folders that :func:`prepare` made or found.

    Attributes:
        folders (dict[str, Path]): Folder of each data set: images directly in it for ``pool``, one
            folder a class for a task.
        counts (dict[str, dict[str, int]]): Number of images of each data set, by class; those of the
            pool by family.
        sources (str): Whom the images are from and under which licences, one line a package.
    """

    folders: dict[str, Path]
    counts: dict[str, dict[str, int]]
    sources: str

    @property
    def pool(self) -> Path:
        """Folder of the images without labels."""
        return self.folders['pool']

    @property
    def tasks(self) -> dict[str, Path]:
        """Folder of each labelled data set."""
        return {name: folder for name, folder in self.folders.items() if name != 'pool'}


@dataclass(frozen=True)
class Picture:
    """An encoded picture and what it becomes: ``group`` is its class, or its family in the pool."""

    group: str
    name: str
    data: bytes


Archives = Mapping[Package, Path]


@dataclass(frozen=True)
class DataSet:
    """A data set that can be prepared: what it is made of, and how its pictures are found there."""

    packages: tuple[Package, ...]
    pictures: Callable[[Archives, Options], list[Picture]]
    about: str
    labelled: bool = True


def prepare(
    out: str | Path | None = None,
    *,
    names: Iterable[str] | None = None,
    size: int = 64,
    skin_tones: bool = False,
    max_per_class: int | None = None,
    cache: str | Path | None = None,
) -> PreparedData:
    """Fetches and prepares real images; what is there already is left as it is.

    Every image becomes an RGB PNG of ``size`` × ``size``: transparent parts on white, the longest
    side scaled to ``size``, the rest filled with white. A folder appears when it is whole, so an
    interrupted call leaves nothing half and the next one goes on with the data set that was missing.

    Args:
        out (str | Path | None): Where the folders are made, one a data set. Defaults to a folder of
            the cache that belongs to these options.
        names (Iterable[str] | None): Which of :data:`DATA_SETS`. Defaults to all.
        size (int): Width and height in pixels. Defaults to 64.
        skin_tones (bool): See :class:`Options`. Defaults to False.
        max_per_class (int | None): See :class:`Options`. Defaults to None.
        cache (str | Path | None): Where fetched packages are kept. Defaults to :func:`cache_folder`.

    Returns:
        PreparedData: The folders, in the order of ``names``.

    Raises:
        InputError: If a name is unknown, a package cannot be fetched, or a folder of that name was
            not made by the same recipe.
    """
    options = Options(size, skin_tones, max_per_class)
    names = list(DATA_SETS if names is None else names)
    for name in names:
        if name not in DATA_SETS:
            raise InputError(f'there is no data set {name!r}: choose among {", ".join(DATA_SETS)}')
    cache = Path(cache or cache_folder())
    if out is None:
        together = hashlib.sha256(''.join(_recipe(name, options) for name in DATA_SETS).encode()).hexdigest()
        out = cache / f'images-{size}px-{together[:8]}'
    out = Path(out)

    missing = [name for name in names if not _is_prepared(out / name, _recipe(name, options))]
    packages = list(dict.fromkeys(package for name in missing for package in DATA_SETS[name].packages))
    archives: dict[Package, Path] = {}
    with progress(total=round(sum(package.megabytes for package in packages)), desc='fetch (MB)') as bar:
        for package in packages:
            archives[package] = fetch(package, cache)
            bar.update(round(package.megabytes))
    for name in missing:
        pictures = DATA_SETS[name].pictures(archives, options)
        _write(name, pictures, out, options)

    markers = {name: json.loads((out / name / MARKER).read_text(encoding='utf-8')) for name in names}
    return PreparedData(
        folders={name: out / name for name in names},
        counts={name: marker['counts'] for name, marker in markers.items()},
        sources=attribution(names),
    )


def attribution(names: Iterable[str]) -> str:
    """Whom the images of some data sets are from: one line a package, each package once."""
    packages = dict.fromkeys(package for name in names for package in DATA_SETS[name].packages)
    lines = [f'{package} ({package.kind}): {package.credit}. Licence: {package.licence}.\n' for package in packages]
    return ''.join(lines)


def code_points(name: str) -> tuple[int, ...]:
    """The code points that an emoji's file name spells, without the variation selector FE0F.

    Packages differ in leading zeros, separators and the selector; the emoji is the same.
    """
    points = tuple(int(digits, 16) for digits in re.split(r'[-_]', Path(name).stem))
    return tuple(point for point in points if point != 0xFE0F)


def has_skin_tone(points: tuple[int, ...]) -> bool:
    """Whether an emoji is a skin-tone variant, or the bare tone."""
    return any(0x1F3FB <= point <= 0x1F3FF for point in points)


def emoji_labels(table: bytes) -> dict[tuple[int, ...], tuple[str, str]]:
    """Reads ``emoji.json``: category and subcategory by code points.

    Components (the bare skin tones) are left out; skin-tone variants are not entries of their own.
    """
    return {
        code_points(entry['image']): (entry['category'], entry['subcategory'])
        for entry in json.loads(table)
        if entry['category'] != 'Component'
    }


def to_square(picture: Image.Image, size: int) -> Image.Image:
    """An RGB image of ``size`` × ``size`` with the whole picture on white, in its proportions."""
    picture = picture.convert('RGBA')
    # Colours first, size second: transparent pixels may hold any colour, which must not bleed in.
    picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture).convert('RGB')
    if max(picture.size) != size:
        scale = size / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new('RGB', (size, size), 'white')
    square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return square


def decode(data: bytes, size: int) -> Image.Image:
    """Opens an encoded picture; SVG is drawn ``size`` pixels wide."""
    if data.lstrip().startswith(b'<'):
        import resvg_py  # only what prepares OpenMoji needs it

        data = resvg_py.svg_to_bytes(svg_string=data.decode(), width=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(data))


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickled NumPy arrays and refuses everything else, since a pickle may call any function."""

    _reconstruct = np.empty(0).__reduce__()[0]
    _allowed = {
        ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
        ('numpy._core.multiarray', '_reconstruct'): _reconstruct,
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'{module}.{name} is not part of an array') from None


def read_array(data: bytes, where: str) -> np.ndarray:
    """Reads a gzipped pickle that holds one array of integers.

    Raises:
        InputError: If it holds anything else. Nothing of it is run.
    """
    try:
        array = ArrayUnpickler(io.BytesIO(gzip.decompress(data))).load()
    except (pickle.UnpicklingError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f'{where} is not a plain array ({error}): do not use this file') from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'iu':
        raise InputError(f'{where} is not an array of integers: do not use this file')
    return array


def _emoji_pool(archives: Archives, options: Options) -> list[Picture]:
    """Google, Twitter and OpenMoji."""
    families = {
        'google': (GOOGLE, 'package/img/google/64/'),
        'twitter': (TWITTER, 'package/img/twitter/64/'),
        'openmoji': (OPENMOJI, 'package/color/svg/'),
    }
    pictures = []
    for family, (package, prefix) in families.items():
        for name, data in _files(archives[package], prefix):
            if options.skin_tones or not has_skin_tone(code_points(name)):
                pictures.append(Picture(family, f'{family}-{name.lower()}', data))
    return pictures


def _fluent(archives: Archives) -> Iterator[tuple[str, str, Picture]]:
    """Category, subcategory and picture (without a group yet) of each Fluent emoji, once."""
    ((_, table),) = read_members(archives[GOOGLE], lambda name: name == 'package/emoji.json')
    labels = emoji_labels(table)
    # Some emoji are there twice, under names that differ in zeros or separators: the first one stays.
    files: dict[tuple[int, ...], tuple[str, bytes]] = {}
    for name, data in sorted(_files(archives[FLUENT], 'package/assets/')):
        files.setdefault(code_points(name), (name, data))
    for points, (name, data) in files.items():
        if points in labels:  # which skin-tone variants are not
            category, subcategory = labels[points]
            yield category, subcategory, Picture('', name, data)


def _fluent_category(archives: Archives, options: Options) -> list[Picture]:
    """The nine categories of Unicode."""
    return [Picture(_folder_name(category), picture.name, picture.data) for category, _, picture in _fluent(archives)]


def _fluent_fine(archives: Archives, options: Options) -> list[Picture]:
    """Subcategories of animals and food that have enough images."""
    pictures = [
        Picture(_folder_name(subcategory), picture.name, picture.data)
        for category, subcategory, picture in _fluent(archives)
        if category in FINE_CATEGORIES
    ]
    sizes = Counter(picture.group for picture in pictures)
    return [picture for picture in pictures if sizes[picture.group] >= FINE_MINIMUM]


def _animal_silhouettes(archives: Archives, options: Options) -> list[Picture]:
    """White animals on black, 28 × 28 pixels, each distinct image once."""
    stored = dict(_files(archives[SILHOUETTES], 'animal_mnist/data/Animal_MNIST/'))
    images = read_array(stored['animal_data_version_3'], f'the images of {SILHOUETTES}')
    labels = read_array(stored['animal_label_version_3'], f'the labels of {SILHOUETTES}')
    height, width = images.shape[1:]
    header = f'P5 {width} {height} 255\n'.encode()
    unique: dict[bytes, Picture] = {}
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        data = header + image.tobytes()
        unique.setdefault(data, Picture(ANIMALS[label], f'{index:05d}', data))
    return list(unique.values())


DATA_SETS: dict[str, DataSet] = {
    'pool': DataSet(
        (GOOGLE, TWITTER, OPENMOJI), _emoji_pool, 'emoji of Google, Twitter and OpenMoji, no labels', labelled=False
    ),
    'fluent_category': DataSet((FLUENT, GOOGLE), _fluent_category, 'Fluent 3D emoji by category, 9 classes'),
    'fluent_fine': DataSet((FLUENT, GOOGLE), _fluent_fine, 'Fluent 3D animals and food by subcategory, 11 classes'),
    'animal_silhouettes': DataSet((SILHOUETTES,), _animal_silhouettes, 'silhouettes of animals, 10 classes'),
}
"""What :func:`prepare` can prepare."""


def _files(archive: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Stem and content of the files directly in one folder of an archive."""
    for name, data in read_members(archive, lambda name: name.startswith(prefix) and '/' not in name[len(prefix):]):
        yield Path(name).stem, data


def _folder_name(label: str) -> str:
    return label.lower().replace('&', 'and').replace(' ', '_').replace('-', '_')


def _recipe(name: str, options: Options) -> str:
    """Fingerprint of all that decides what a prepared folder holds."""
    recipe = [RECIPE_VERSION, name, [package.sha256 for package in DATA_SETS[name].packages], asdict(options)]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def _is_prepared(folder: Path, recipe: str) -> bool:
    """Whether a folder holds what is wanted; another folder in its place is an error."""
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / MARKER).read_text(encoding='utf-8'))['recipe']
    except (OSError, ValueError, KeyError):
        found = None
    if found != recipe:
        raise InputError(
            f'{folder} exists and was not prepared with these options: remove it, or prepare into another folder'
        )
    return True


def _thin_out(pictures: list[Picture], limit: int | None) -> list[Picture]:
    """At most ``limit`` pictures a group, spread evenly over those there are."""
    if limit is None:
        return pictures
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    kept: list[Picture] = []
    for group in groups.values():
        number = min(limit, len(group))
        kept += [group[index * len(group) // number] for index in range(number)]
    return kept


def _write(name: str, pictures: list[Picture], out: Path, options: Options) -> None:
    """Makes the folder of one data set, whole or not at all."""
    labelled = DATA_SETS[name].labelled
    if labelled:
        pictures = _thin_out(pictures, options.max_per_class)
    counts = dict(sorted(Counter(picture.group for picture in pictures).items()))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=out) as temporary:
        # A folder inside, because a temporary one is closed to others and would stay so.
        folder = Path(temporary) / name
        for group in counts if labelled else ['.']:
            (folder / group).mkdir(parents=True)

        def write(picture: Picture) -> None:
            place = folder / picture.group if labelled else folder
            image = to_square(decode(picture.data, options.size), options.size)
            image.save(place / f'{picture.name}.png', compress_level=1)

        # Threads are enough: decoding, resizing and encoding leave Python's lock to others.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as workers:
            for _ in progress(workers.map(write, pictures), total=len(pictures), desc=name):
                pass
        (folder / ATTRIBUTION).write_text(attribution([name]), encoding='utf-8')
        marker = {'recipe': _recipe(name, options), 'options': asdict(options), 'counts': counts}
        (folder / MARKER).write_text(json.dumps(marker, indent=2) + '\n', encoding='utf-8')
        os.replace(folder, out / name)
