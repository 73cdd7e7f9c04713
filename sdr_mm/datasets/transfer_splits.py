"""Data sets that the transfer benchmark splits in a way that MMPretrain's classes do not know.

The benchmark is that of "How Well Do Self-Supervised Models Transfer?" (Ericsson et al. 2021), which the paper follows;
its code is the repository linusericsson/ssl-transfer.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmpretrain.datasets import DTD, Caltech101

from ..errors import InputError
from ..files import read_lines
from ..images import find_images
from ..registry import DATASETS


@DATASETS.register_module()
class TransferCaltech101(Caltech101):
    """Caltech-101 with the benchmark's split, made from the images alone: no list has to be fetched.

    Of each of the 102 classes, background included, 30 images are drawn *with replacement* (NumPy's legacy generator,
    seed 0, classes and images in the order of their names). An image that is drawn several times counts once: 2,416
    images train. The other 6,728 test.

    Note:
        Until October 2023 the benchmark's list named an image as often as it was drawn, 3,060 lines in all. The list
        that MMPretrain's own class reads, ``meta/train.txt``, has 3,060 lines too.

    Args:
        data_root (str): The folder that holds ``101_ObjectCategories``.
        split (str): ``'train'`` or ``'test'``. Defaults to 'train'.
        per_class (int): Images drawn from each class. Defaults to 30.
        **kwargs: Other arguments of MMPretrain's ``BaseDataset``.

    Raises:
        InputError: If a class has no images.
    """

    def __init__(self, data_root: str, split: str = 'train', per_class: int = 30, **kwargs: Any) -> None:
        self.per_class = per_class
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Draws the split: one dict with ``img_path`` and ``gt_label`` for each image."""
        random = np.random.RandomState(0)
        infos = []
        for label, title in enumerate(self.METAINFO['classes']):
            folder = os.path.join(self.img_prefix, title)
            names = find_images(folder)
            if not names:
                raise InputError(f'there are no images in {folder}: unpack 101_ObjectCategories once more')
            drawn = np.isin(np.arange(len(names)), random.choice(len(names), self.per_class))
            infos += [dict(img_path=os.path.join(folder, name), gt_label=label)
                      for name, train in zip(names, drawn) if train == (self.split == 'train')]
        return infos


@DATASETS.register_module()
class TransferDTD(DTD):
    """DTD with one of its ten official partitions, as the lists in ``labels/`` name them.

    MMPretrain's class reads ``imdb/imdb.mat``, which knows one partition and does not say which.

    Args:
        data_root (str): The folder that holds ``images`` and ``labels``.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to 'train'.
        partition (int): 1 to 10. Defaults to 1, the benchmark's.
        **kwargs: Other arguments of MMPretrain's ``BaseDataset``.
    """

    def __init__(self, data_root: str, split: str = 'train', partition: int = 1, **kwargs: Any) -> None:
        self.partition = partition
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Reads the list: one dict with ``img_path`` and ``gt_label`` for each image."""
        path = os.path.join(self.data_root, 'labels', f'{self.split}{self.partition}.txt')
        names = read_lines(path)
        return [dict(img_path=os.path.join(self.img_prefix, name), gt_label=self.class_to_idx[name.split('/')[0]])
                for name in names]
