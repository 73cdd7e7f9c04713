"""How all pictures look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure

from ..files import atomic_write

INK = '#26323b'
QUIET = '#7b8891'
GAIN = '#1f8a8c'
LOSS = '#c3ccd1'
ROUTED = '#d9562b'
SUPERNET = '#7a5ea8'
GRID = '#e8ecee'

SERIES: tuple[dict[str, Any], ...] = (
    dict(facecolor=GAIN), dict(facecolor=LOSS, hatch='////'), dict(facecolor=INK), dict(facecolor='white'),
    dict(facecolor=SUPERNET, hatch='....'), dict(facecolor='#e9a98f', hatch='\\\\\\\\'))
"""Fills of bars that stand side by side: by lightness or hatch they differ on gray paper too."""

# Names come from people and files, and a dollar in one begins no formula.
_STYLE = {
    'font.family': 'DejaVu Sans', 'font.size': 9, 'text.color': INK, 'text.parse_math': False,
    'axes.labelcolor': INK, 'axes.edgecolor': QUIET, 'axes.linewidth': 0.8,
    'axes.spines.top': False, 'axes.spines.right': False,
    'axes.titlesize': 11, 'axes.titleweight': 'bold', 'axes.titlelocation': 'left',
    'xtick.color': QUIET, 'xtick.labelcolor': INK, 'xtick.major.size': 3,
    'ytick.color': QUIET, 'ytick.labelcolor': INK, 'ytick.major.size': 0,
    'figure.facecolor': 'white', 'savefig.facecolor': 'white'}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the pictures drawn inside, whatever the person's own are."""
    with matplotlib.style.context(['default', _STYLE]):
        yield


def signed(gain: float, form: str = '.1f') -> str:
    """A gain as text, with a real minus sign and none before zero."""
    text = f'{gain:+{form}}'
    return text[1:] if float(text) == 0 else text.replace('-', '−')


def shorten(name: str, most: int = 28) -> str:
    """A name on one line, its middle left out if it is longer than ``most`` characters."""
    name = ' '.join(name.split())
    half = (most - 1) // 2
    return name if len(name) <= most else f'{name[:most - 1 - half].rstrip()}…{name[-half:].lstrip()}'


def save_figure(figure: Figure, file: str | Path, *, overwrite: bool = False, dpi: int = 150) -> None:
    """Writes a picture, whole or not at all.

    Raises:
        InputError: If the file exists and may not be replaced, or the disk is full.
    """
    with atomic_write(file, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format='png', dpi=dpi)
