"""Detection data in a folder of PASCAL VOC's format."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from xml.etree import ElementTree

from mmdet.datasets import VOCDataset
from mmengine.fileio import get_local_path

from ..errors import InputError
from ..registry import DATASETS


@DATASETS.register_module()
class VOCFolder(VOCDataset):
    """MMDetection's ``VOCDataset``, but it passes over nothing in silence.

    MMDetection skips an object whose class it does not know, and trains on boxes that leave the image.
    Here both are errors. An image that is no ``.jpg`` is found by the suffix that its annotation gives.

    Args:
        data_root (str): The folder, with ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        ann_file (str): The list of images, ``ImageSets/Main/SPLIT.txt``, one name a line.
        metainfo (dict, optional): ``dict(classes=(…))``. Defaults to None, VOC's 20 classes.
        data_prefix (dict): Its ``sub_data_root`` is the part of ``data_root`` that holds images and
            annotations. Defaults to ``dict(sub_data_root='')``, all of it.
        kwargs (Any): Further arguments of :class:`mmdet.datasets.VOCDataset`.

    Raises:
        InputError: If a file is missing or cannot be read, an object has an unknown class, or a box is
            empty or leaves the image.
    """

    def __init__(self, data_prefix: dict[str, str] = dict(sub_data_root=''), **kwargs: Any) -> None:
        classes = (kwargs.get('metainfo') or {}).get('classes')
        if isinstance(classes, str):
            raise InputError(f"classes is the text '{classes}': give a tuple, as in classes = ('{classes}', )")
        super().__init__(data_prefix=dict(data_prefix), **kwargs)

    @property
    def _is_local(self) -> bool:
        return self.backend_args is None

    def load_data_list(self) -> list[dict[str, Any]]:
        if self._is_local and not osp.isfile(self.ann_file):
            raise InputError(f'there is no file {self.ann_file}: a folder of VOC format has ImageSets/Main/SPLIT.txt '
                             f'with the name of one image a line; check data_root and ann_file')
        return super().load_data_list()

    def parse_data_info(self, img_info: dict[str, Any]) -> dict[str, Any]:
        annotation = img_info['xml_path']
        if self._is_local and not osp.isfile(annotation):
            raise InputError(f'there is no file {annotation}, although {self.ann_file} lists the image '
                             f"'{img_info['img_id']}': add the annotation, or take the name from the list")
        try:
            with get_local_path(annotation, backend_args=self.backend_args) as path:
                root = ElementTree.parse(path).getroot()
            if self._is_local:
                img_info = {**img_info, 'file_name': self._image(root, img_info['file_name'], annotation)}
            check_classes(root, self._metainfo['classes'], annotation)
            info = super().parse_data_info(img_info)
            check_boxes(root, info['width'], info['height'], annotation)
        except (ElementTree.ParseError, AttributeError, TypeError) as error:
            raise InputError(f'{annotation} is no annotation in VOC format ({error}): each object needs a name and a '
                             f'bndbox with xmin, ymin, xmax and ymax') from error
        return info

    def _image(self, root: ElementTree.Element, name: str, annotation: str) -> str:
        """``name`` with the suffix that the image has."""
        named = PurePath(name).with_suffix(PurePath(root.findtext('filename') or name).suffix or '.jpg')
        for candidate in (name, str(named)):
            if osp.isfile(osp.join(self.sub_data_root, candidate)):
                return candidate
        raise InputError(f'there is no image {osp.join(self.sub_data_root, name)}, although there is {annotation}: add '
                         f'the image, or take its name from {self.ann_file}')


def check_classes(root: ElementTree.Element, classes: Sequence[str], where: str) -> None:
    """Refuses objects that are of none of ``classes``.

    Raises:
        InputError: Naming the first one.
    """
    for entry in root.findall('object'):
        name = entry.findtext('name')
        if name not in classes:
            raise InputError(f"{where} has an object of the unknown class '{name}': the classes of the config are "
                             f'{", ".join(classes)}; add it there, or take the object out')


def check_boxes(root: ElementTree.Element, width: int, height: int, where: str) -> None:
    """Refuses boxes that are empty or leave the image.

    VOC counts pixels from 1, many tools from 0, and some round up: one pixel is let pass.

    Raises:
        InputError: Naming the first one.
    """
    for entry in root.findall('object'):
        left, top, right, bottom = (float(entry.find('bndbox').find(side).text)  # type: ignore[union-attr,arg-type]
                                    for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        if not (0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1):
            raise InputError(f'{where} has the box ({left:g}, {top:g}, {right:g}, {bottom:g}), which is empty or '
                             f'leaves the image of {width} × {height} pixels: correct it, or take the object out')
