"""Which classes a cluster holds, where labels of the images of pre-training are known (Fig. 4b of the paper)."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..errors import InputError
from ..files import decode
from .style import GAIN, INK, QUIET, shorten

FOLDERS = 'folders'
Files = Sequence[str | PathLike[str]]


def class_mix(classes: Sequence[str], members: np.ndarray, top: int = 5) -> list[tuple[str, float]]:
    """The most frequent classes of a cluster and the ratio of its images that they have, the largest first.

    Args:
        classes (Sequence[str]): Of all images.
        members (np.ndarray): (m,) numbers of the images of the cluster.
        top (int): Most classes. Defaults to 5.
    """
    counts = Counter(classes[index] for index in members)
    return [(name, count / len(members)) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            ][:top]


def read_classes(source: str | Path, paths: Files) -> list[str]:
    """The class of each image.

    Args:
        source (str | Path): ``'folders'``: the topmost folder below the one that all images lie in. Or a CSV file
            without a head, a line ``image,class`` for each, where the image is the end of its path, such as
            ``n01440764/x.JPEG``; there may be lines for other images.
        paths (Sequence[str | PathLike]): The images.

    Raises:
        InputError: If an image has no class, or the file is something else.
    """
    return _by_folder(paths) if str(source) == FOLDERS else _by_file(Path(source), paths)


def _by_folder(paths: Files) -> list[str]:
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.join(os.path.commonpath({os.path.dirname(path) for path in absolute}), '')
    names = [path[len(root):].split(os.sep, 1) for path in absolute]
    flat = next((name[0] for name in names if len(name) == 1), None)
    if flat is not None:
        raise InputError(f'image {flat} lies in no class folder below {root}: give a CSV file with a line image,class '
                         'for each image')
    return _readable([name[0] for name in names])


def _by_file(file: Path, paths: Files) -> list[str]:
    advice = 'give a CSV file with a line image,class for each image, in UTF-8'
    if not file.is_file():
        raise InputError(f'there is no file {file}: {advice}, or {FOLDERS}')
    try:
        lines = [line for line in csv.reader(decode(file.read_bytes()).splitlines()) if line]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
        raise InputError(f'{file} cannot be read ({reason}): {advice}') from error
    known: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if len(line) != 2 or not all(cell.strip() for cell in line):
            raise InputError(f'line {number} of {file} is not image,class: {advice}')
        name, label = (cell.strip() for cell in line)
        if known.setdefault(name.replace('\\', '/'), label) != label:
            raise InputError(f'{file} gives {name} two classes: {advice}')
    found = [_longest_end(Path(path).as_posix(), known) for path in paths]
    missing = [str(path) for path, name in zip(paths, found) if name is None]
    if missing:
        raise InputError(f'{file} has no class for {len(missing):,} of {len(paths):,} images, the first is '
                         f'{missing[0]}: {advice}')
    names = [name for name in found if name is not None]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f'{file}: {name} is the end of the path of {times} images: give more of the paths')
    return _readable([known[name] for name in names])


def _longest_end(path: str, known: dict[str, str]) -> str | None:
    """The longest of the names by which ``path`` ends, in whole folders."""
    while path not in known:
        _, separator, path = path.partition('/')
        if not separator:
            return None
    return path


def _readable(classes: list[str]) -> list[str]:
    """The same with words for ImageNet's folders, such as kite for n01608432, where timm is installed."""
    if not all(re.fullmatch(r'n\d{8}', name) for name in set(classes)):
        return classes
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return classes
    info, words = ImageNetInfo('imagenet-22k'), {}
    for name in set(classes):
        try:
            words[name] = info.label_name_to_description(name).split(',')[0].strip()
        except KeyError:
            words[name] = name
    # Two classes may have one word: a crane is a bird and a machine.
    count = Counter(words.values())
    return [words[name] if count[words[name]] == 1 else f'{words[name]} ({name})' for name in classes]


def percent(share: float) -> str:
    """A ratio as text in two digits or three."""
    return f'{100 * share:.0f} %' if share >= 0.0995 else f'{100 * share:.1f} %'


def draw_class_mix(axes: Axes, classes: Sequence[str], members: np.ndarray, *, top: int = 5) -> None:
    """Draws the ratios of the most frequent classes of a cluster as bars, with the name above each."""
    mix = class_mix(classes, members, top)
    longest = max([share for _, share in mix], default=1.0)
    for row, (name, share) in enumerate(mix):
        axes.barh(row + 0.12, share, height=0.34, color=GAIN)
        axes.text(0, row - 0.13, shorten(name, 22), fontsize=8, va='bottom', color=INK)
        axes.text(share + 0.03 * longest, row + 0.12, percent(share), fontsize=8, va='center', color=INK)
    axes.set(xlim=(0, 1.3 * longest), ylim=(top - 0.45, -0.6))
    axes.set_axis_off()
    distinct = len({classes[index] for index in members})
    axes.set_title('Classes', pad=19)
    axes.annotate(f'the {len(mix)} largest of {distinct:,}' if distinct > len(mix) else 'all that it has', xy=(0, 1),
                  xytext=(0, 6), xycoords='axes fraction', textcoords='offset points', fontsize=8, color=QUIET)
