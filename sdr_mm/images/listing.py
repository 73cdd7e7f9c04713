"""Which images a folder or a data set holds, and what identifies the list of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from ..cli import is_main_process, say
from ..errors import InputError

EXTENSIONS = ('.apng', '.avif', '.bmp', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm', '.png',
              '.pnm', '.ppm', '.tif', '.tiff', '.webp')

SYSTEM_FOLDERS = frozenset(('#recycle', '#snapshot', '$recycle.bin', '@eadir', '@recycle', '__macosx', '__pycache__',
                            'lost+found', 'system volume information'))
"""Folders that systems and programs keep for themselves, in lower case."""

SYSTEM_FILES = frozenset(('desktop.ini', 'ehthumbs.db', 'thumbs.db'))
TEXTS = ('attribution', 'licence', 'license', 'prepared', 'readme')
"""Files that they leave behind, and what texts about the images are called, in lower case (``prepared.json`` is that of
``projects.real_data``). Nobody misses these, so they are not even named."""


class Entries(NamedTuple):
    """What lies directly in a folder, by name, sorted.

    Args:
        folders (list[str]): Folders and links to folders.
        images (list[str]): Files that are images by their extension. A link that leads nowhere is one too, so that a
            list does not depend on what is mounted; reading it fails.
        left_out (list[str]): Everything else that somebody could miss; folders end with ``/``.
    """

    folders: list[str]
    images: list[str]
    left_out: list[str]


def look_into(folder: str) -> Entries:
    """Sorts what lies directly in a folder into folders, images and the rest, without opening a file.

    Raises:
        InputError: If the folder cannot be read, so that no image vanishes unseen.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f'the folder {folder} cannot be read ({error.strerror}): make it readable, or move it to '
                         f'another place') from error
    result = Entries([], [], [])
    for entry in found:
        name, lower = entry.name, entry.name.lower()
        hidden, image = name.startswith('.'), lower.endswith(EXTENSIONS)
        kind = _kind(entry)
        if kind == 'folder':
            if hidden or lower in SYSTEM_FOLDERS:
                result.left_out.append(f'{name}/')
            else:
                result.folders.append(name)
        elif image and not hidden and kind != 'special':
            result.images.append(name)
        elif not name.startswith('._') and (image or not hidden and not _unmissed(lower)):
            result.left_out.append(name)
    return result


def _unmissed(name: str) -> bool:
    return name in SYSTEM_FILES or os.path.splitext(name)[0] in TEXTS


def _kind(entry: os.DirEntry[str]) -> str:
    """``'folder'``, ``'file'``, ``'broken'`` (a link that leads nowhere), or ``'special'``: pipes, devices, sockets."""
    try:
        if entry.is_dir():
            return 'folder'
        if entry.is_file():
            return 'file'
    except OSError:  # a loop of links, or a target that may not be looked at
        return 'broken'
    return 'special' if os.path.exists(entry.path) else 'broken'


def list_images(root: str) -> tuple[list[str], list[str]]:
    """The images under a folder at any depth, by their extension, and what is left out.

    Links to folders are followed, each folder once. Left out are files of other kinds, what is hidden, and the folders
    of systems (:data:`SYSTEM_FOLDERS`), which are not looked into.

    Args:
        root (str): The folder.

    Returns:
        tuple[list[str], list[str]]: Paths of the images and of what is left out, relative to ``root``, with ``/``
        between folders, sorted. Both are empty if there is no such folder.

    Raises:
        InputError: If a folder cannot be read.
    """
    images: list[str] = []
    left_out: list[str] = []
    visited = set()
    pending = [''] if os.path.isdir(root) else []
    while pending:
        prefix = pending.pop()
        folder = os.path.join(root, prefix)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        entries = look_into(folder)
        images += [prefix + name for name in entries.images]
        left_out += [prefix + name for name in entries.left_out]
        # In order, so that of two links to a folder the same one counts everywhere.
        pending += [f'{prefix}{name}/' for name in reversed(entries.folders)]
    return sorted(images), sorted(left_out)


def find_images(root: str) -> list[str]:
    """The images of :func:`list_images`; what is left out is said in one line on stderr."""
    images, left_out = list_images(root)
    report_left_out(root, left_out)
    return images


def report_left_out(root: str | os.PathLike[str], left_out: Sequence[str]) -> None:
    """Counts and names on stderr what is left out of a folder; the same only once in a process."""
    if left_out and is_main_process():
        what = 'file or folder' if len(left_out) == 1 else 'files or folders'
        _say_once(f'{os.fspath(root)}: {len(left_out):,} {what} left out: {shortened(left_out)}')


@cache
def _say_once(line: str) -> None:
    say(line)


def shortened(names: Sequence[str], most: int = 3) -> str:
    """The first names, for a line."""
    shown = [name if name.isprintable() else repr(name) for name in names[:most]]
    return ', '.join(shown) + (', …' if len(names) > most else '')


def image_names(dataset: Any) -> list[str]:
    """Names the images of a data set, whatever its class and wherever it lies, without opening one.

    Args:
        dataset (BaseDataset): Any data set of image files, ``ImageNet``, ``CustomDataset``, :class:`ImageFolder`, ….

    Returns:
        list[str]: Path of each image relative to the folder of the data set, or to the deepest common folder where an
        image lies elsewhere; with ``/`` between folders.

    Raises:
        InputError: If the images are not files.
    """
    root = getattr(dataset, 'data_prefix', {}).get('img_path', '')
    names = _relative_names(dataset, root) if root else None
    if names is None:
        folder = os.path.commonpath({os.path.dirname(os.path.abspath(path)) for path in _paths(dataset)})
        names = _relative_names(dataset, folder)
        assert names is not None, f'every image lies in the common folder {folder}'
    return names


def _paths(dataset: Any) -> Iterator[str]:
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if 'img_path' not in info:
            raise InputError(
                f'the images of {type(dataset).__name__} are not files: save them as files and use ImageFolder')
        yield info['img_path']


def _relative_names(dataset: Any, folder: str) -> list[str] | None:
    """Paths as seen from ``folder``, or None if an image lies elsewhere.

    Compares strings, because ``os.path.relpath`` takes many seconds for a million images.
    """
    absolute = os.path.isabs(folder)
    prefix = os.path.join(folder, '')
    names = []
    for path in _paths(dataset):
        path = os.path.abspath(path) if absolute else path
        if not path.startswith(prefix):
            return None
        names.append(path[len(prefix):].replace(os.sep, '/'))
    return names


def fingerprint(names: Iterable[str]) -> str:
    """Identifies a list of images by their names, order and number.

    Args:
        names (Iterable[str]): Names of the images in the order of the data set, relative to its root, with ``/``
            between folders.

    Returns:
        str: SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    count = 0
    for count, name in enumerate(names, 1):  # noqa: B007, used below; an empty list leaves 0
        digest.update(name.encode('utf-8', 'surrogateescape') + b'\n')
    digest.update(str(count).encode())
    return digest.hexdigest()
