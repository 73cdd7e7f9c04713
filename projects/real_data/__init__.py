"""Small real data sets, made of pictures that package registries ship.

A pool without labels (three families of emoji), tasks with labels (another family of emoji,
silhouettes of animals, furniture, sprites of a game, photos of solar cells) and photos with boxes for detection.
``docs/data.md`` says what they are and who made them.
"""

from .data_set import KINDS, Options
from .preparation import ATTRIBUTION, DATA_SETS, PreparedData, prepare

__all__ = ['ATTRIBUTION', 'DATA_SETS', 'KINDS', 'Options', 'PreparedData', 'prepare']
