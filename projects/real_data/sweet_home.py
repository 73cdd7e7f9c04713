"""A task of rendered furniture: the category of an item in the catalogs of Sweet Home 3D."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from .archives import read_members
from .data_set import Archives, Options, Picture, folder_name
from .packages import Package

SWEET_HOME = Package(
    'debian', 'sweethome3d-furniture', '1.8-1',
    '3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668', 119.8,
    'CC-BY-3.0, in part CC0', 'Furniture of Sweet Home 3D: Scopia, Andrew Kator & Jennifer Legaz, Reallusion, the '
    'contributors of Blend Swap, Emmanuel Puybaret / eTeks')
FOLDER = 'usr/share/sweethome3d/furniture/'
TABLE = 'PluginFurnitureCatalog.properties'
# Below this a category has too few images to be split: leaves 11 of 12, without two staircases.
MINIMUM = 10


def sweet_home(archives: Archives, options: Options) -> list[Picture]:
    """The icon of each item by category. The catalogs are zip files in the package."""
    pictures: list[Picture] = []
    for name, catalog in read_members(archives[SWEET_HOME], lambda name: name.startswith(FOLDER)):
        where = f'{PurePosixPath(name).name} of {SWEET_HOME}'
        ((_, table),) = read_members(catalog, lambda name: name == TABLE, where)
        categories = icon_categories(table)
        for icon, data in read_members(catalog, categories.__contains__, where):
            path = PurePosixPath(icon)
            pictures.append(Picture(folder_name(categories[icon]), f'{path.parent}-{path.stem}', data))
    sizes = Counter(picture.group for picture in pictures)
    return sorted((picture for picture in pictures if sizes[picture.group] >= MINIMUM),
                  key=lambda picture: (picture.group, picture.name))


def icon_categories(table: bytes) -> dict[str, str]:
    """Reads a catalog's Java properties: the category by the icon's name in the archive.

    Items are numbered: ``category#7=Kitchen`` and ``icon#7=/scopia/oven.png`` belong together.
    """
    lines = re.findall(r'^(icon|category)#(\d+)\s*=\s*(.*?)\s*$', table.decode('latin-1'), re.MULTILINE)
    values = {(key, number): value for key, number, value in lines}
    return {value.lstrip('/'): values['category', number] for (key, number), value in values.items() if key == 'icon'}
