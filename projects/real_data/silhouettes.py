"""A task of silhouettes, read from an array that was pickled."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import Any

import numpy as np

from sdr_mm.errors import InputError

from .archives import read_members
from .data_set import Archives, Options, Picture
from .packages import Package

SILHOUETTES = Package(
    'pypi', 'animal-mnist', '0.4',
    'aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce', 2.6,
    'MIT', 'Animal-MNIST, Sina Mohammadi')
FOLDER = 'animal_mnist/data/Animal_MNIST/'
ANIMALS = ('bear', 'bird', 'cat', 'cow', 'dog', 'elephant', 'giraffe', 'horse', 'sheep', 'zebra')


def animal_silhouettes(archives: Archives, options: Options) -> list[Picture]:
    """White animals on black, 28 × 28 pixels, each distinct image once."""
    stored = dict(read_members(archives[SILHOUETTES], lambda name: name.startswith(FOLDER)))
    images = read_array(stored[f'{FOLDER}animal_data_version_3.gz'], f'the images of {SILHOUETTES}')
    labels = read_array(stored[f'{FOLDER}animal_label_version_3.gz'], f'the labels of {SILHOUETTES}')
    height, width = images.shape[1:]
    header = f'P5 {width} {height} 255\n'.encode()
    unique: dict[bytes, Picture] = {}
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        data = header + image.tobytes()
        unique.setdefault(data, Picture(ANIMALS[label], f'{index:05d}', data))
    return list(unique.values())


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickled NumPy arrays and refuses everything else, since a pickle may call any function."""

    _reconstruct = np.empty(0).__reduce__()[0]
    _allowed = {
        ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
        ('numpy._core.multiarray', '_reconstruct'): _reconstruct,
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'{module}.{name} is not part of an array') from None


def read_array(data: bytes, where: str) -> np.ndarray:
    """Reads a gzipped pickle that holds one array of integers.

    Raises:
        InputError: If it holds anything else. Nothing of it is run.
    """
    try:
        array = ArrayUnpickler(io.BytesIO(gzip.decompress(data))).load()
    except (pickle.UnpicklingError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f'{where} is not a plain array ({error}): do not use this file') from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'iu':
        raise InputError(f'{where} is not an array of integers: do not use this file')
    return array
