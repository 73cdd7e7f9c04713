"""Any folder of images as a data set, and the names of the images of any data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset import BaseDataset as EngineDataset
from mmpretrain.datasets import BaseDataset

from ..errors import InputError
from ..registry import DATASETS

EXTENSIONS = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')


def find_images(root: str) -> list[str]:
    """Finds the images under a folder at any depth, by their extension.

    Links to folders are followed, each folder once; hidden files and folders are left out.

    Args:
        root (str): The folder.

    Returns:
        list[str]: Paths relative to ``root``, with ``/`` between folders, sorted.
    """
    return sorted(_walk(root))


def _walk(root: str) -> Iterator[str]:
    visited = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        # Sorted, so that of two links to a folder the same one counts everywhere.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith('.'):
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """The images of a folder, flat or nested, without labels.

    Args:
        data_root (str): The folder. Images are found at any depth by their extension (bmp, gif,
            jpeg, jpg, pgm, png, ppm, tif, tiff, webp, in either case) and sorted by their path.
        ann_file (str): A text file with the relative path of one image a line, to use these images
            in this order; relative to ``data_root``. Defaults to '', all images.
        pipeline (Sequence): Transforms. Defaults to none.
        **kwargs: Other arguments of MMPretrain's ``BaseDataset``.

    Raises:
        InputError: If the folder or the list is missing or has no images.
    """

    def __init__(self, data_root: str, ann_file: str = '', pipeline: Sequence = (), **kwargs: Any) -> None:
        super().__init__(
            ann_file=ann_file, data_root=os.path.expanduser(data_root), pipeline=pipeline, **kwargs)

    def __getitem__(self, index: int) -> Any:
        """One image through the pipeline; in place of one that cannot be decoded, another one.

        How many were tried before it is noted in the data sample's ``skipped``.

        Raises:
            InputError: If too many in a row cannot be decoded.
        """
        self.full_init()
        for skipped in range(self.max_refetch + 1):
            data = self.prepare_data(index)
            if data is not None:
                if skipped and isinstance(data, dict) and 'data_samples' in data:
                    data['data_samples'].set_metainfo(dict(skipped=skipped))
                return data
            index = self._rand_another()
        raise InputError(f'{self.max_refetch + 1} images of {self.img_prefix} in a row cannot be decoded: look at the '
                         "files, or pass on_error='stop' to see the reason")

    def load_data_list(self) -> list[dict]:
        """Finds the images: one dict with ``img_path`` for each."""
        root = self.img_prefix
        if not os.path.isdir(root):
            raise InputError(f'there is no folder {root!r}: give the folder that holds the images')
        if self.ann_file:
            if not os.path.isfile(self.ann_file):
                raise InputError(f'there is no file {self.ann_file}: give a text file with one image path a line')
            with open(self.ann_file, encoding='utf-8') as lines:
                names = [line.strip() for line in lines if line.strip()]
            if not names:
                raise InputError(f'{self.ann_file} lists no images: give a text file with one image path a line')
        else:
            names = find_images(root)
            if not names:
                raise InputError(
                    f'there are no images in the folder {root}: give a folder with files of the types '
                    f'{" ".join(extension[1:] for extension in EXTENSIONS)}')
        return [dict(img_path=os.path.join(root, name)) for name in names]


def image_names(dataset: EngineDataset) -> list[str]:
    """Names the images of a data set, whatever its class and wherever it lies, without opening one.

    Args:
        dataset (BaseDataset): Any data set of image files, ``ImageNet``, ``CustomDataset``,
            :class:`ImageFolder`, ….

    Returns:
        list[str]: Path of each image relative to the folder of the data set, or to the deepest
        common folder where an image lies elsewhere; with ``/`` between folders.

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


def _paths(dataset: EngineDataset) -> Iterator[str]:
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if 'img_path' not in info:
            raise InputError(
                f'the images of {type(dataset).__name__} are not files: save them as files and use ImageFolder')
        yield info['img_path']


def _relative_names(dataset: EngineDataset, folder: str) -> list[str] | None:
    """Paths as seen from ``folder``, or None if an image lies elsewhere.

    Compares strings, because ``os.path.relpath`` takes many seconds for a million images, and keeps
    one string per image.
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
