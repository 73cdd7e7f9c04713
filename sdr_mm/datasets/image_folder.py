"""Any folder of images as a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmpretrain.datasets import BaseDataset

from ..errors import InputError
from ..files import read_lines
from ..images.listing import EXTENSIONS, find_images
from ..registry import DATASETS


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """The images of a folder, flat or nested, without labels.

    Args:
        data_root (str): The folder. Images are found at any depth by their extension (:data:`EXTENSIONS`, in either
            case) and sorted by their path; what is left out is counted and named on stderr.
        ann_file (str): A text file with the relative path of one image a line, to use these images in this order;
            relative to ``data_root``. Defaults to '', all images.
        pipeline (Sequence): Transforms. Defaults to none.
        **kwargs: Other arguments of MMPretrain's ``BaseDataset``.

    Raises:
        InputError: If the folder or the list is missing or has no images.
    """

    def __init__(self, data_root: str, ann_file: str = '', pipeline: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, data_root=os.path.expanduser(data_root), pipeline=pipeline, **kwargs)

    def __getitem__(self, index: int) -> Any:
        """One image through the pipeline; in place of one that cannot be decoded, another one.

        The data sample's ``skipped`` says how many were tried before it.

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

    def load_data_list(self) -> list[dict[str, Any]]:
        """Finds the images: one dict with ``img_path`` for each."""
        root = self.img_prefix
        if not os.path.isdir(root):
            raise InputError(f'there is no folder {root!r}: give the folder that holds the images')
        if self.ann_file:
            if not os.path.isfile(self.ann_file):
                raise InputError(f'there is no file {self.ann_file}: give a text file with one image path a line')
            names = read_lines(self.ann_file)
            if not names:
                raise InputError(f'{self.ann_file} lists no images: give a text file with one image path a line')
        else:
            names = find_images(root)
            if not names:
                raise InputError(f'there are no images in the folder {root}: give a folder with files of the types '
                                 f'{" ".join(extension[1:] for extension in EXTENSIONS)}')
        return [dict(img_path=os.path.join(root, name)) for name in names]
