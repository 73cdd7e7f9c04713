"""The pool, three families of emoji, and two tasks made of a fourth."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .archives import read_members
from .data_set import Archives, Options, Picture, folder_name
from .packages import Package

GOOGLE = Package(
    'npm', 'emoji-datasource-google', '16.0.0',
    'fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438', 74.3,
    'Apache-2.0', 'Noto Emoji, Google; packaged (with emoji.json, MIT) by Cal Henderson')
TWITTER = Package(
    'npm', 'emoji-datasource-twitter', '16.0.0',
    'f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877', 61.7,
    'CC-BY-4.0', 'Twemoji, Twitter, Inc. and other contributors; packaged by Cal Henderson')
OPENMOJI = Package(
    'npm', 'openmoji', '17.0.0',
    '55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68', 4.3,
    'CC-BY-SA-4.0', 'All emojis designed by OpenMoji, the open-source emoji and icon project')
FLUENT = Package(
    'npm', '@lobehub/fluent-emoji-3d', '1.1.0',
    'c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58', 15.8,
    'MIT', 'Fluent Emoji, Microsoft Corporation; packaged by LobeHub')

FINE_CATEGORIES = ('Animals & Nature', 'Food & Drink')
# Below this a class has too few images to be split; 14 leaves 11 of the 15 subcategories.
FINE_MINIMUM = 14


def emoji_pool(archives: Archives, options: Options) -> list[Picture]:
    """Google, Twitter and OpenMoji."""
    families = {
        'google': (GOOGLE, 'package/img/google/64/'),
        'twitter': (TWITTER, 'package/img/twitter/64/'),
        'openmoji': (OPENMOJI, 'package/color/svg/')}
    pictures = []
    for family, (package, prefix) in families.items():
        for name, data in _files(archives[package], prefix):
            if options.skin_tones or not has_skin_tone(code_points(name)):
                pictures.append(Picture(family, f'{family}-{name.lower()}', data))
    return pictures


def fluent_category(archives: Archives, options: Options) -> list[Picture]:
    """The nine categories of Unicode."""
    return [Picture(folder_name(category), picture.name, picture.data) for category, _, picture in _fluent(archives)]


def fluent_fine(archives: Archives, options: Options) -> list[Picture]:
    """Subcategories of animals and food that have enough images."""
    pictures = [Picture(folder_name(subcategory), picture.name, picture.data)
                for category, subcategory, picture in _fluent(archives) if category in FINE_CATEGORIES]
    sizes = Counter(picture.group for picture in pictures)
    return [picture for picture in pictures if sizes[picture.group] >= FINE_MINIMUM]


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
    return {code_points(entry['image']): (entry['category'], entry['subcategory'])
            for entry in json.loads(table) if entry['category'] != 'Component'}


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


def _files(archive: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Stem and content of the files directly in one folder of an archive."""
    for name, data in read_members(archive, lambda name: name.startswith(prefix) and '/' not in name[len(prefix):]):
        yield Path(name).stem, data
