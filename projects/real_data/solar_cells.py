"""A task of photos: how likely a solar cell is defective, and of which kind of silicon it is."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sdr_mm.errors import InputError

from .archives import read_members
from .data_set import Archives, Options, Picture
from .packages import Package

SOLAR_CELLS = Package(
    'pypi', 'elpv-dataset', '1.0.0.post1',
    '85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c', 90.8,
    'CC-BY-NC-SA-4.0, so no commercial use, and neither the images nor weights trained on them are shared under '
    'another license',
    'ELPV, solar cells in electroluminescence images: C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, '
    'B. Doll, J. Hauch, C. Camus, C. J. Brabec; scaled here')
FOLDER = 'elpv_dataset/data/'
TABLE = f'{FOLDER}labels.csv'
# What the table says of a cell and what its class is called.
PERCENT = {'0.0': 0, '0.3333333333333333': 33, '0.6666666666666666': 67, '1.0': 100}
KINDS_OF_CELLS = ('mono', 'poly')
# Cells of each module. The table does not tell modules apart, but it has them one after the other: these sizes are read
# off the pictures (rows of 10 or 12 cells, and at a border the look changes), and they give the 44 modules that the
# package names, 18 mono and 26 poly, as published. The places of the modules of 54 and of 50 are the likeliest ones; if
# they are wrong, cells move among modules 19 to 21, or between 30 and 31, which therefore are all for training.
SIZES = (60,) * 19 + (54,) + (60,) * 10 + (50,) + (60,) * 5 + (72,) + (60,) * 3 + (48,) + (60,) * 3
# Modules (from 0) for test and validation, drawn so that each class has 23 to 32 % and 12 to 20 % of its images there.
TEST = (5, 7, 9, 10, 11, 12, 16, 17, 22, 36, 39, 43)
VAL = (1, 4, 8, 18, 24, 29, 35)


def solar_cells(archives: Archives, options: Options) -> list[Picture]:
    """Photos of cells by kind of silicon and probability of a defect, each module in one part of the split."""
    where = f'labels.csv of {SOLAR_CELLS}'
    found = dict(read_members(archives[SOLAR_CELLS], lambda name: name == TABLE or (
        name.startswith(f'{FOLDER}images/') and name.endswith('.png'))))
    classes = cell_classes(found.get(TABLE, b''), where)
    if missing := [name for name in classes if f'{FOLDER}{name}' not in found]:
        raise InputError(f'{where} lists {missing[0]}, which is not in the package: do not use this file')
    if len(classes) != sum(SIZES):
        raise InputError(f'{where} has {len(classes):,} cells instead of {sum(SIZES):,}: do not use this file')
    modules = [module for module, size in enumerate(SIZES) for _ in range(size)]
    pictures = [
        Picture(label, PurePosixPath(name).stem, found[f'{FOLDER}{name}'], f'module_{module:02}', part_of(module))
        for (name, label), module in zip(classes.items(), modules)]
    # By parts, so that what is spread evenly over the images of a class is so over its parts.
    return sorted(pictures, key=lambda picture: picture.part)


def part_of(module: int) -> str:
    """``'train'``, ``'val'`` or ``'test'``, by the number of the module."""
    return 'test' if module in TEST else 'val' if module in VAL else 'train'


def cell_classes(table: bytes, where: str) -> dict[str, str]:
    """Reads the table of labels: the class by the image's name, say ``mono_33`` by ``images/cell0001.png``.

    A line is name, probability of a defect (in thirds) and kind of cell, with spaces between them.

    Args:
        table (bytes): The file.
        where (str): What to call it in errors.

    Raises:
        InputError: If it has no lines, a line is anything else, or an image is there twice.
    """
    classes: dict[str, str] = {}
    for number, line in enumerate(table.decode('ascii', errors='replace').splitlines(), start=1):
        name, probability, kind = words if len(words := line.split()) == 3 else ('', '', '')
        if not re.fullmatch(r'images/cell\d+\.png', name) or probability not in PERCENT or kind not in KINDS_OF_CELLS:
            raise InputError(f'line {number} of {where} is {line[:80]!r}, not an image, a probability in thirds and a '
                             f'kind of cell: do not use this file')
        if name in classes:
            raise InputError(f'line {number} of {where} has {name} again: do not use this file')
        classes[name] = f'{kind}_{PERCENT[probability]}'
    if not classes:
        raise InputError(f'{where} has no labels: do not use this file')
    return classes
