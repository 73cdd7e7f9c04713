"""The data sets there are, and how they are prepared: packages fetched, folders written, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from sdr_mm.cli import progress
from sdr_mm.errors import InputError
from sdr_mm.files import check_folder
from sdr_mm.records import check, read_json

from .aerial import DEEPFOREST, AerialTrees
from .data_set import Archives, DataSet, Options, PictureSet
from .emoji import FLUENT, GOOGLE, OPENMOJI, TWITTER, emoji_pool, fluent_category, fluent_fine
from .open_clip_art import OPEN_CLIP_ART, open_clip_art
from .packages import Package, cache_folder, fetch
from .silhouettes import SILHOUETTES, animal_silhouettes
from .solar_cells import SOLAR_CELLS, solar_cells
from .sweet_home import SWEET_HOME, sweet_home
from .wesnoth import WESNOTH, wesnoth_race

# What needs apt comes last, so that where there is none all the others have been prepared before.
DATA_SETS: dict[str, DataSet] = {
    'pool': PictureSet((GOOGLE, TWITTER, OPENMOJI), 'emoji of Google, Twitter and OpenMoji, no labels', emoji_pool,
                       labeled=False),
    'fluent_category': PictureSet((FLUENT, GOOGLE), 'Fluent 3D emoji by category, 9 classes', fluent_category),
    'fluent_fine': PictureSet((FLUENT, GOOGLE), 'Fluent 3D animals and food by subcategory, 11 classes', fluent_fine),
    'animal_silhouettes': PictureSet((SILHOUETTES,), 'silhouettes of animals, 10 classes', animal_silhouettes),
    'solar_cells': PictureSet((SOLAR_CELLS,), 'photos of solar cells by kind and defect, 8 classes, split by module',
                              solar_cells),
    'aerial_trees': AerialTrees((DEEPFOREST,), 'trees in tiles of aerial photos, boxes of 1 class in VOC format'),
    'open_clip_art': PictureSet((OPEN_CLIP_ART,), 'clip art by folder, 16 classes', open_clip_art),
    'sweet_home': PictureSet((SWEET_HOME,), 'rendered furniture by category, 11 classes', sweet_home),
    'wesnoth_race': PictureSet((WESNOTH,), 'sprites of a game by race, 20 classes, grouped by unit', wesnoth_race)}
"""What :func:`~projects.real_data.prepare` can prepare."""

MARKER = 'prepared.json'
ATTRIBUTION = 'ATTRIBUTION.txt'
# Raise it when the same packages and options give other images than before.
RECIPE_VERSION = 1
# The default folder is named after the recipes of these, and not of all, so that one more data set does not move
# what people have prepared.
NAMED_AFTER = ('pool', 'fluent_category', 'fluent_fine', 'animal_silhouettes')


@dataclass(frozen=True)
class PreparedData:
    """The folders that :func:`prepare` made or found.

    Attributes:
        folders (dict[str, Path]): Folder of each data set: images directly in it for ``pool``, one
            folder a class for a task (and in it one a unit, for some; all that in ``train``, ``val`` and
            ``test`` where a task has a split of its own), VOC format for detection.
        counts (dict[str, dict[str, int]]): Number of images of each data set, by class; those of the
            pool by family, those for detection by split.
        sources (str): Whom the images are from and under which licenses, one line a package.
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
        """Folder of each data set of labeled images."""
        return {name: folder for name, folder in self.folders.items() if DATA_SETS[name].kind == 'task'}


def prepare(out: str | Path | None = None, *, names: Iterable[str] | None = None, size: int = 64,
            skin_tones: bool = False, max_per_class: int | None = None,
            cache: str | Path | None = None) -> PreparedData:
    """Fetches and prepares real images; what is there already is left as it is.

    Every picture becomes an RGB PNG of ``size`` × ``size``: transparent parts on white, the longest
    side scaled to ``size``, the rest filled with white. Photos for detection keep their pixels. A
    folder appears when it is whole, so an interrupted call leaves nothing half and the next one resumes
    with the data set that was missing.

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
    out = Path(out) if out is not None else cache / default_folder(options)

    missing = [name for name in names if not _is_prepared(out / name, fingerprint(name, options))]
    if missing:
        check_folder(out)
    archives: dict[Package, Path] = {}
    for name in missing:
        packages = [package for package in DATA_SETS[name].packages if package not in archives]
        with progress(total=round(sum(package.megabytes for package in packages)), desc=f'fetch {name} (MB)') as bar:
            for package in packages:
                archives[package] = fetch(package, cache)
                bar.update(round(package.megabytes))
        _write(name, archives, out, options)

    counts = {name: _marker(out / name)['counts'] for name in names}
    return PreparedData({name: out / name for name in names}, counts, attribution(names))


def default_folder(options: Options) -> str:
    """Name of the folder of the cache that belongs to some options."""
    recipes = ''.join(fingerprint(name, options) for name in NAMED_AFTER)
    return f'images-{options.size}px-{hashlib.sha256(recipes.encode()).hexdigest()[:8]}'


def attribution(names: Iterable[str]) -> str:
    """Whom the images of some data sets are from: one line a package, each package once."""
    packages = dict.fromkeys(package for name in names for package in DATA_SETS[name].packages)
    lines = [f'{package} ({package.kind}): {package.credit}. License: {package.license}.\n' for package in packages]
    return ''.join(lines)


def fingerprint(name: str, options: Options) -> str:
    """Fingerprint of all that decides what a prepared folder holds."""
    data_set = DATA_SETS[name]
    recipe = [RECIPE_VERSION, name, [package.sha256 for package in data_set.packages], data_set.choices(options)]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


class Marker(TypedDict):
    """What :data:`MARKER` says of a prepared folder."""

    recipe: str
    counts: dict[str, int]


def _marker(folder: Path) -> Marker:
    content: Marker = read_json(folder / MARKER, 'prepare into another folder')
    check(content, Marker, MARKER)
    return content


def _is_prepared(folder: Path, recipe: str) -> bool:
    """Whether a folder holds what is wanted; another folder in its place is an error."""
    if not folder.exists():
        return False
    try:
        found = _marker(folder)['recipe']
    except ValueError:
        found = None
    if found != recipe:
        raise InputError(f'{folder} exists and was not prepared with these options: remove it, or prepare into '
                         f'another folder')
    return True


def _write(name: str, archives: Archives, out: Path, options: Options) -> None:
    """Makes the folder of one data set, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=out) as temporary:
        # A folder inside, because a temporary one is closed to others and would stay so.
        folder = Path(temporary) / name
        folder.mkdir()
        counts = DATA_SETS[name].write(archives, folder, options)
        (folder / ATTRIBUTION).write_text(attribution([name]), encoding='utf-8')
        marker = {'recipe': fingerprint(name, options), 'options': DATA_SETS[name].choices(options), 'counts': counts}
        (folder / MARKER).write_text(json.dumps(marker, indent=2) + '\n', encoding='utf-8')
        os.replace(folder, out / name)
