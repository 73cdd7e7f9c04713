"""The data sets there are, by name."""

from __future__ import annotations

from .aerial import DEEPFOREST, AerialTrees
from .data_set import DataSet
from .emoji import FLUENT, GOOGLE, OPENMOJI, TWITTER, emoji_pool, fluent_category, fluent_fine
from .open_clip_art import OPEN_CLIP_ART, open_clip_art
from .pictures import PictureSet
from .silhouettes import SILHOUETTES, animal_silhouettes
from .sweet_home import SWEET_HOME, sweet_home
from .wesnoth import WESNOTH, wesnoth_race

# What needs apt comes last, so that where there is none all the others have been prepared before.
DATA_SETS: dict[str, DataSet] = {
    'pool': PictureSet(
        (GOOGLE, TWITTER, OPENMOJI), 'emoji of Google, Twitter and OpenMoji, no labels', emoji_pool, labeled=False
    ),
    'fluent_category': PictureSet((FLUENT, GOOGLE), 'Fluent 3D emoji by category, 9 classes', fluent_category),
    'fluent_fine': PictureSet(
        (FLUENT, GOOGLE), 'Fluent 3D animals and food by subcategory, 11 classes', fluent_fine
    ),
    'animal_silhouettes': PictureSet((SILHOUETTES,), 'silhouettes of animals, 10 classes', animal_silhouettes),
    'aerial_trees': AerialTrees((DEEPFOREST,), 'trees in tiles of aerial photos, boxes of 1 class in VOC format'),
    'open_clip_art': PictureSet((OPEN_CLIP_ART,), 'clip art by folder, 16 classes', open_clip_art),
    'sweet_home': PictureSet((SWEET_HOME,), 'rendered furniture by category, 11 classes', sweet_home),
    'wesnoth_race': PictureSet((WESNOTH,), 'sprites of a game by race, 20 classes, grouped by unit', wesnoth_race),
}
"""What :func:`~projects.real_data.prepare` can prepare."""
