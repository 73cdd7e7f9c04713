"""A task of sprites: the race of a unit of the game Battle for Wesnoth."""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from .archives import read_members
from .data_set import Archives, Options, Picture, folder_name, on_white
from .packages import Package

WESNOTH = Package(
    'debian', 'wesnoth-1.16-data', '1:1.16.9-1',
    '1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26', 146.2,
    'GPL-2+, newer art CC-BY-SA-4.0', 'The Battle for Wesnoth, by David White and its many artists and contributors')
FOLDER = 'usr/share/games/wesnoth/1.16/data/core/images/units/'
# Four ships, which are of no race.
NO_RACE = 'transport'
# What shows less is the glow or the flames that the game lays over another sprite: at most 16 pixels, while
# the smallest frame of a unit shows 55.
VISIBLE_PIXELS = 40
# The units of this race but one, whose files all begin alike: `wose-elder-attack-1`, and once `elder-wose-die-decay-1`.
WOSES = ('ancient', 'elder', 'sapling', 'shaman')


def wesnoth_race(archives: Archives, options: Options) -> list[Picture]:
    """Sprites by race, those of one unit together, each distinct one once.

    A race is a folder of the game: humans fill several.
    """
    found = sorted(read_members(archives[WESNOTH], lambda name: name.startswith(FOLDER) and name.endswith('.png')))
    pictures: list[Picture] = []
    seen: set[tuple[tuple[int, int], bytes]] = set()
    for name, data in found:
        path = PurePosixPath(name.removeprefix(FOLDER))
        if len(path.parts) == 1 or path.parts[0] == NO_RACE:  # directly in the folder are placeholders
            continue
        sprite = Image.open(io.BytesIO(data)).convert('RGBA')
        pixels = sprite.size, on_white(sprite).tobytes()
        visible = np.count_nonzero(np.asarray(sprite)[..., 3] >= 128)
        # Frames in which two units look the same (they die alike) must not be on both sides of a split.
        if pixels not in seen and visible >= VISIBLE_PIXELS:
            seen.add(pixels)
            pictures.append(Picture(folder_name(path.parts[0]), path.stem, data, unit_of(path)))
    return pictures


def unit_of(path: PurePosixPath) -> str:
    """The unit, or the line of units, that a sprite shows; frames of one unit are never told apart.

    Args:
        path (PurePosixPath): The file's path from the folder of the units, say ``orcs/grunt-attack-1.png``.

    Returns:
        str: The folder within that of the race, if there is one, else the first word of the name.
        A word may stand for several units (the dwarves' gryphon rider and gryphon master).
    """
    race, *line, _ = path.parts
    words = re.split(r'[-_+~]', path.stem)
    if line:
        return line[0]
    if race == 'woses':
        return next((word for word in WOSES if word in words), 'wose')
    return words[0]
