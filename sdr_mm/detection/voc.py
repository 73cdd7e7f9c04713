"""PASCAL VOC: data in a folder of its format, and AP, AP50 and AP75 as the transfer protocol of MoCo reports them."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from mmdet.datasets import VOCDataset
from mmdet.evaluation import VOCMetric
from mmdet.evaluation.functional.mean_ap import average_precision, get_cls_results, tpfp_default
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from ..errors import InputError
from ..files import read_lines
from ..registry import DATASETS, METRICS
from ..text_table import markdown_table

THRESHOLDS = tuple(twentieth / 20 for twentieth in range(10, 20))
"""Intersection over union: 0.50, 0.55, …, 0.95."""

COLUMNS = dict(AP=slice(None), AP50=slice(0, 1), AP75=slice(5, 6))
"""Which of :data:`THRESHOLDS` a number is the mean of."""


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
        InputError: If a file, an object or a box cannot be used.
    """

    def __init__(self, data_prefix: dict[str, str] = dict(sub_data_root=''), **kwargs: Any) -> None:
        classes = (kwargs.get('metainfo') or {}).get('classes')
        if isinstance(classes, str):
            raise InputError(f"classes is the text '{classes}': give a tuple, as in classes = ('{classes}', )")
        super().__init__(data_prefix=dict(data_prefix), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        if self.backend_args is None and not osp.isfile(self.ann_file):
            raise InputError(f'there is no file {self.ann_file}: a folder of VOC format has ImageSets/Main/SPLIT.txt '
                             f'with the name of one image a line; check data_root and ann_file')
        if self.backend_args is None:
            check_list(self.ann_file)
        images: list[dict[str, Any]] = super().load_data_list()
        return images

    def parse_data_info(self, img_info: dict[str, Any]) -> dict[str, Any]:
        annotation, is_local = img_info['xml_path'], self.backend_args is None
        if is_local and not osp.isfile(annotation):
            raise InputError(f'there is no file {annotation}, although {self.ann_file} lists the image '
                             f"'{img_info['img_id']}': add the annotation, or take the name from the list")
        try:
            with get_local_path(annotation, backend_args=self.backend_args) as path:
                root = ElementTree.parse(path).getroot()
            if is_local:
                img_info = {**img_info, 'file_name': self._image(root, img_info['file_name'], annotation)}
            info: dict[str, Any] = super().parse_data_info(img_info)
            check_objects(root, self._metainfo['classes'], info['width'], info['height'], annotation)
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


def check_list(file: str) -> None:
    """Refuses a list that MMDetection would read other names from than it has: it knows plain UTF-8 only."""
    names = read_lines(file)
    with open(file, encoding='utf-8', errors='replace') as lines:
        if names != [line.strip() for line in lines if line.strip()]:
            raise InputError(f'{file} is in UTF-16, or has a byte order mark or backslashes: save it as plain UTF-8, '
                             'with one name a line')


def check_objects(root: ElementTree.Element, classes: Sequence[str], width: int, height: int, where: str) -> None:
    """Refuses objects that are of none of ``classes``, and boxes that are empty or leave the image.

    VOC counts pixels from 1, many tools from 0, and some round up: one pixel is let pass.
    """
    for entry in root.findall('object'):
        name = entry.findtext('name')
        if name not in classes:
            raise InputError(f"{where} has an object of the unknown class '{name}': the classes of the config are "
                             f'{", ".join(classes)}; add it there, or take the object out')
        left, top, right, bottom = (float(entry.find('bndbox').find(side).text)  # type: ignore[union-attr,arg-type]
                                    for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        if not (0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1):
            raise InputError(f'{where} has the box ({left:g}, {top:g}, {right:g}, {bottom:g}), which is empty or '
                             f'leaves the image of {width} × {height} pixels: correct it, or take the object out')


@METRICS.register_module()
class VOCDetectionMetric(VOCMetric):
    """MMDetection's 11-point average precision at ten overlaps, in per cent and not rounded.

    ``AP`` is the mean over :data:`THRESHOLDS`, ``AP50`` and ``AP75`` are those at 0.50 and 0.75. Difficult objects
    count neither way. MMDetection's own ``VOCMetric(iou_thrs=…)`` gives the same numbers, but rounds two of them to
    0.1 per cent, and starts a pool of processes for each overlap.

    Args:
        collect_device (str): Where results of the ranks are gathered. Defaults to 'cpu'.
        prefix (str, optional): Put before the names of the numbers. Defaults to 'pascal_voc'.
    """

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(iou_thrs=list(THRESHOLDS), collect_device=collect_device, prefix=prefix)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The three numbers; those of the single classes go to the log."""
        objects, found = zip(*results)
        lines, known = [], []
        for label, name in enumerate(self.dataset_meta['classes']):
            count, values = average_precisions(found, objects, label)
            scores = [float(values[part].mean()) for part in COLUMNS.values()]
            lines.append([name, str(count), *(f'{score:.2f}' if count else '–' for score in scores)])
            known += [scores] * bool(count)  # Without the classes of which there is nothing to find.
        mean = dict(zip(COLUMNS, np.mean(known, axis=0).tolist() if known else [0.0] * len(COLUMNS)))
        lines.append(['all', str(sum(int(line[1]) for line in lines)), *(f'{score:.2f}' for score in mean.values())])
        MMLogger.get_current_instance().info('\n' + markdown_table(['class', 'objects', *COLUMNS], lines))
        return mean


def average_precisions(found: Sequence[Any], objects: Sequence[Any], label: int) -> tuple[int, np.ndarray]:
    """How many objects of a class there are to find, and its average precision in per cent at :data:`THRESHOLDS`.

    By image, ``found`` has for each class ``(n, 5)`` boxes and scores, and ``objects`` what ``eval_map`` takes.
    """
    images = list(zip(*get_cls_results(found, objects, label)))
    count = sum(len(true) for _, true, _ in images)
    order = np.argsort(-np.vstack([boxes for boxes, *_ in images])[:, -1])
    values = []
    for threshold in THRESHOLDS:
        pairs = [tpfp_default(*image, threshold, use_legacy_coordinate=True) for image in images]
        hits, falses = (np.cumsum(np.hstack(parts)[0, order], dtype=np.float64) for parts in zip(*pairs))
        # In floating point the point 3 * 0.1 is more than a recall of 3 / 10.
        recall, precision = hits / max(count, 1) + 1e-9, hits / np.maximum(hits + falses, 1)
        values.append(average_precision(recall, precision, '11points'))
    return count, 100 * np.array(values, dtype=np.float64)
