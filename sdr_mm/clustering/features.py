"""The features ``F`` of a data set in a folder on disk: extracting and reading them (section 4.2)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from mmengine.dist import get_dist_info, is_main_process
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from ..cli import progress
from ..distributed import gather
from ..errors import InputError
from ..files import check_output, out_of_space, place_folder
from ..images import IMAGENET, ImageStore, Normalization, fingerprint, image_names, read_rgb
from ..records import check, read_json

FORMAT = 'sdr_mm features 1'


class Undecodable(TypedDict):
    """An image that could not be decoded."""

    index: int
    name: str
    reason: str


class Meta(TypedDict):
    """What ``meta.json`` has; ``checkpoint`` and ``network`` too, if they are known."""

    format: str
    fingerprint: str
    resize: int
    size: int
    undecodable: list[Undecodable]
    classes: list[str] | None


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the images of a data set, as :func:`extract_features` wrote them.

    Args:
        folder (Path): Holds ``features.npy``, ``images.txt``, ``meta.json`` and, for a labeled data set,
            ``labels.npy``.
        array (np.ndarray): (n, d) float32 or float16, memory-mapped; 0 for an image that could not be decoded.
        names (list[str]): Of the images, relative to the root of the data set, in order.
        labels (np.ndarray, optional): (n,) integers.
        meta (dict): ``fingerprint`` of the names, ``checkpoint``, ``network``, ``resize``, ``size``, ``undecodable``
            (list of dicts with ``index``, ``name`` and ``reason``) and ``classes`` (names, or None).
    """

    folder: Path
    array: np.ndarray
    names: list[str]
    labels: np.ndarray | None
    meta: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the image list, see :func:`~sdr_mm.images.fingerprint`."""
        fingerprint: str = self.meta['fingerprint']
        return fingerprint

    @property
    def decodable(self) -> np.ndarray:
        """(n',) int64: the rows of the images that could be decoded."""
        return np.setdiff1d(np.arange(len(self.names)), [image['index'] for image in self.meta['undecodable']])

    @classmethod
    def load(cls, folder: str | Path) -> Features:
        """Opens a folder of features. Nothing in it is executed.

        Raises:
            InputError: If it is missing, is something else, or its parts do not fit together.
        """
        folder = Path(folder)
        advice = 'give the folder that tools/extract_features.py wrote'
        if not folder.is_dir():
            raise InputError(f'there is no folder {folder}: {advice}')
        for name in ('meta.json', 'images.txt', 'features.npy'):
            if not (folder / name).is_file():
                raise InputError(f'{folder} does not hold features, {name} is missing: {advice}')
        meta = read_json(folder / 'meta.json', advice)
        try:
            check(meta, Meta, 'meta.json')
            if meta['format'] != FORMAT:
                raise InputError(f'{folder} holds {str(meta["format"])[:40]!r}, not {FORMAT!r}: extract them again')
            names = (folder / 'images.txt').read_bytes().decode(errors='surrogateescape').split('\n')[:-1]
            # What a memory map cannot be made of, objects included, is refused.
            array = open_memmap(folder / 'features.npy', mode='r')
            labels = open_memmap(folder / 'labels.npy', mode='r') if (folder / 'labels.npy').is_file() else None
            fits = fingerprint(names) == meta['fingerprint'] and all(
                0 <= image['index'] < len(names) for image in meta['undecodable'])
        except InputError:
            raise
        except Exception as error:  # A header of arbitrary bytes may raise anything.
            reason = ' '.join(str(error).split())[:200]
            raise InputError(f'{folder} does not hold features or they are damaged ({reason}): {advice}') from error
        if not fits or array.ndim != 2 or len(array) != len(names) or not array.shape[1] or array.dtype not in (
                np.float32, np.float16):
            raise InputError(f'{folder}: {array.dtype} features of shape {array.shape} do not fit the list of '
                             f'{len(names)} images: extract them again')
        if labels is not None and (labels.shape != (len(names),) or labels.dtype.kind not in 'iu'):
            raise InputError(f'{folder}: {labels.dtype} labels of shape {labels.shape} do not fit the list of '
                             f'{len(names)} images, which needs a whole number for each: extract them again')
        return cls(folder, array, names, labels, meta)

    def check_finite(self, chunk: int = 1 << 14) -> None:
        """Reads all features; raises an InputError that names the first image with NaN or infinity."""
        for start in range(0, len(self.array), chunk):
            _check_finite(self.array[start:start + chunk], self.names[start:start + chunk], str(self.folder))


def _check_finite(values: np.ndarray, names: list[str], where: str) -> None:
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise InputError(f'{where}: the features of {names[int(finite.argmin())]} are not finite (NaN or infinity): '
                         f'the network is broken, extract them with another checkpoint')


def extract_features(network: nn.Module, dataset: Any, out: str | Path, *, pool: Callable[[Any], Tensor],
                     normalization: Normalization = IMAGENET, resize: int = 256, size: int = 224,
                     read: Callable[[str | PathLike[str]], np.ndarray] = read_rgb, batch_size: int = 64,
                     workers: int = 2,
                     device: str | torch.device = 'cpu', on_error: str = 'stop', half: bool = False,
                     labels_from_folders: bool = False, source: Mapping[str, Any] | None = None,
                     overwrite: bool = False) -> Features:
    """Extracts the features of all images with a frozen network. All ranks must call.

    Each rank writes its own part of one file. The folder appears when it is whole.

    Args:
        network (nn.Module): Runs in evaluation mode on ``device``, where it is moved.
        dataset (BaseDataset): Any data set of image files of MMPretrain or ours. Its own pipeline is not used.
        out (str | Path): Folder to write.
        pool (Callable): Makes features (N, d) of what the network returns, for example
            :func:`~sdr_mm.models.backbone.pool_features`.
        normalization (Normalization): Of the network's input. Defaults to ImageNet's.
        resize (int): Short side in pixels, see :class:`~sdr_mm.images.ImageStore`. Defaults to 256.
        size (int): Side of the center crop in pixels. Defaults to 224.
        read (Callable): Reads an image file, (H, W, 3) uint8 RGB. Defaults to :func:`~sdr_mm.images.read_rgb`.
        batch_size (int): Images in a forward. Defaults to 64.
        workers (int): Threads that decode, per rank. Defaults to 2.
        device (str | torch.device): Where the network runs. Defaults to ``'cpu'``.
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, or ``'skip'``, which lists it; it
            will belong to no cluster. Defaults to ``'stop'``.
        half (bool): Whether to store float16 in place of float32. Defaults to False.
        labels_from_folders (bool): Whether the first folder in an image's name is its class, used in place of the
            labels of the data set. Defaults to False.
        source (Mapping, optional): Entries for ``meta.json``: ``checkpoint``, ``network``.
        overwrite (bool): Whether features that are there may be replaced. Defaults to False.

    Returns:
        Features: What was written.

    Raises:
        InputError: On all ranks, if an image cannot be decoded and ``on_error`` is ``'stop'``, none can, a feature is
            not finite, ``out`` exists, an option is out of range, or the disk is full.
    """
    out = Path(out)
    check_output(out, overwrite, holds='features.npy')
    if batch_size < 1:
        raise InputError(f'a batch has at least one image, got batch_size={batch_size}')
    names = image_names(dataset)
    strange = next((name for name in names if '\n' in name), None)
    if strange is not None:
        raise InputError(f'the image name {strange!r} has a line break: rename the file')
    labels, classes = _labels(dataset, names, labels_from_folders)
    rank, world = get_dist_info()
    first, stop = len(names) * rank // world, len(names) * (rank + 1) // world
    images = ImageStore([dataset.get_data_info(row)['img_path'] for row in range(first, stop)], resize=resize,
                        size=size, read=read, on_error=on_error, workers=workers, memory=0, disk=0)
    network.to(device)
    network.eval()  # not chained: the ResNet of MMPretrain returns None
    with torch.inference_mode():
        dim = pool(network(torch.zeros(1, len(normalization.mean), size, size, device=device))).shape[1]

    def write_shard(folder: Path) -> list[dict[str, Any]]:
        """Writes this rank's rows; returns its images that cannot be decoded."""
        array = np.load(folder / 'features.npy', mmap_mode='r+')
        failed = folder / 'failed'  # tells the other ranks that one has stopped
        # Lazy: when a batch comes, its images, and no later ones, are taken from here.
        rows = (row for row in range(len(images)) if row not in images.failed)
        batches = images.batches(np.arange(len(images)), batch_size, mean=normalization.mean, std=normalization.std,
                                 device=device)
        try:
            for batch in progress(batches, total=-(-len(images) // batch_size), desc='features'):
                if failed.exists():
                    break
                with torch.inference_mode():
                    values = pool(network(batch)).cpu().numpy().astype(array.dtype)
                index = [first + row for row in islice(rows, len(values))]
                _check_finite(values, [names[row] for row in index], 'extracting features')
                array[index] = values
        except InputError:
            failed.touch()
            raise
        array.flush()
        return [{'index': first + row, 'name': names[first + row], 'reason': reason}
                for row, reason in sorted(images.failed.items())]

    def finish(folder: Path, undecodable: list[dict[str, Any]]) -> None:
        meta = {'format': FORMAT, 'fingerprint': fingerprint(names), 'resize': resize, 'size': size,
                'undecodable': undecodable, 'classes': classes, **(source or {})}
        lines = ''.join(f'{name}\n' for name in names)
        (folder / 'images.txt').write_bytes(lines.encode(errors='surrogateescape'))
        if labels is not None:
            np.save(folder / 'labels.npy', labels)
        (folder / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n', encoding='utf-8')
        place_folder(folder, out)

    def on_main(work: Callable[[], Any]) -> Any:
        """What the main process made, on all ranks."""
        def try_work() -> Any:
            try:
                return work() if is_main_process() else None
            except OSError as error:
                raise out_of_space(out) if error.errno == errno.ENOSPC else InputError(
                    f'{out} cannot be written ({error.strerror}): give another place') from error
        return gather(try_work)[0]

    folder = on_main(lambda: _reserve(out, (len(names), dim), np.float16 if half else np.float32))
    try:
        undecodable = [image for shard in gather(lambda: write_shard(folder)) for image in shard]
        if len(undecodable) == len(names):
            raise InputError(f'none of the {len(names)} images can be decoded, {undecodable[0]["reason"]}: give other '
                             'images')
        on_main(lambda: finish(folder, undecodable))
    finally:
        if is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
    return Features.load(out)


def _labels(dataset: Any, names: list[str], from_folders: bool) -> tuple[np.ndarray | None, list[str] | None]:
    if from_folders:
        flat = next((name for name in names if '/' not in name), None)
        if flat is not None:
            raise InputError(f'image {flat} lies in no class folder: put each image into the folder of its class')
        classes, labels = np.unique([name.split('/', 1)[0] for name in names], return_inverse=True)
        return labels, classes.tolist()
    found = [dataset.get_data_info(row).get('gt_label') for row in range(len(names))]
    if not all(isinstance(label, (int, np.integer)) for label in found):  # unlabeled, or several labels an image
        return None, None
    known = dataset.metainfo.get('classes')
    return np.array(found, dtype=np.int64), [str(name) for name in known] if known else None


def _reserve(out: Path, shape: tuple[int, int], dtype: type) -> Path:
    """Makes a folder beside ``out`` with the file for the features, all of which has its place on the disk."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent))
    try:
        file = folder / 'features.npy'
        open_memmap(file, mode='w+', dtype=dtype, shape=shape).flush()
        if hasattr(os, 'posix_fallocate'):
            # A sparse memory map would end the process with SIGBUS when the disk gets full.
            with open(file, 'r+b') as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
