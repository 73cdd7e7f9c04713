"""Which images a folder or a data set holds, and what identifies the list of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import InputError

EXTENSIONS = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')


def find_images(root: str) -> list[str]:
    """Finds the images under a folder at any depth, by their extension.

    Links to folders are followed, each folder once; hidden files and folders are left out.

    Args:
        root (str): The folder.

    Returns:
        list[str]: Paths relative to ``root``, with ``/`` between folders, sorted.
    """
    names: list[str] = []
    visited = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        # Sorted, so that of two links to a folder the same one counts everywhere.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        names += [os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/') for name in files
                  if name.lower().endswith(EXTENSIONS) and not name.startswith('.')]
    return sorted(names)


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
