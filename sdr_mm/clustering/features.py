"""The features ``F`` of a data set in a folder on disk: extracting and reading them (section 4.2)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import CenterCrop, Compose
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_dist_info, is_main_process
from mmpretrain.datasets.transforms import ResizeEdge
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..cli import progress
from ..datasets.loading import LoadImage
from ..errors import InputError
from ..files import out_of_space
from ..images import fingerprint, image_names
from ..registry import TRANSFORMS

FORMAT = 'sdr_mm features 1'


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the images of a data set, as :func:`extract_features` wrote them.

    Args:
        folder (Path): Holds ``features.npy``, ``images.txt``, ``meta.json`` and, for a labeled data
            set, ``labels.npy``.
        array (np.ndarray): (n, d) float32 or float16, memory-mapped; 0 for an image that could not
            be decoded.
        names (list[str]): Of the images, relative to the root of the data set, in order.
        labels (np.ndarray, optional): (n,) int64.
        meta (dict): ``fingerprint``, ``checkpoint``, ``network``, ``resize``, ``size``,
            ``undecodable`` (list of dicts with ``index``, ``name`` and ``reason``) and ``classes``
            (names, or None).
    """

    folder: Path
    array: np.ndarray
    names: list[str]
    labels: np.ndarray | None
    meta: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the image list, see :func:`~sdr_mm.clusters.fingerprint`."""
        return self.meta['fingerprint']

    def decodable(self) -> np.ndarray:
        """(n',) int64: the rows of the images that could be decoded."""
        return np.setdiff1d(np.arange(len(self.names)), [image['index'] for image in self.meta['undecodable']])

    @classmethod
    def load(cls, folder: str | Path) -> Features:
        """Opens a folder of features.

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
        try:
            meta = json.loads((folder / 'meta.json').read_text(encoding='utf-8'))
            if meta['format'] != FORMAT:
                raise InputError(f'{folder} holds {str(meta["format"])[:40]!r}, not {FORMAT!r}: extract them again')
            with open(folder / 'images.txt', encoding='utf-8', errors='surrogateescape', newline='\n') as lines:
                names = lines.read().split('\n')[:-1]
            array = np.load(folder / 'features.npy', mmap_mode='r', allow_pickle=False)
            labels = None
            if (folder / 'labels.npy').is_file():
                labels = np.load(folder / 'labels.npy', allow_pickle=False)
            features = cls(folder, array, names, labels, meta)
            features.decodable()
            known = fingerprint(names) == meta['fingerprint']
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
            raise InputError(f'{folder} does not hold features or they are damaged: {advice}') from error
        if not known or array.ndim != 2 or len(array) != len(names) or array.dtype not in (np.float32, np.float16) or (
                labels is not None and labels.shape != (len(names),)):
            raise InputError(
                f'{folder}: {array.dtype} features of shape {array.shape} do not fit the list of {len(names)} images: '
                f'extract them again')
        return features

    def check_finite(self, chunk: int = 1 << 14) -> None:
        """Refuses features with NaN or infinity; reads all of them.

        Raises:
            InputError: Naming the first such image.
        """
        for start in range(0, len(self.array), chunk):
            bad = ~np.isfinite(self.array[start:start + chunk]).all(axis=1)
            if bad.any():
                raise InputError(_not_finite(self.names[start + int(bad.argmax())], str(self.folder)))


def _not_finite(name: str, where: str) -> str:
    return (f'{where}: the features of {name} are not finite (NaN or infinity): the network is broken, '
            f'extract them with another checkpoint')


class _Images(Dataset):
    """(row, (3, size, size) uint8 RGB) of one image, or (row, why it cannot be decoded)."""

    def __init__(self, dataset: BaseDataset, rows: range, pipeline: Compose) -> None:
        self.dataset, self.rows, self.pipeline = dataset, rows, pipeline

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        row = self.rows[index]
        try:
            results = self.pipeline(dict(self.dataset.get_data_info(row)))
        except InputError as error:
            return row, str(error).rsplit(': ', 1)[0]  # without the advice, which is for training
        # Other loaders raise nearly anything on damaged files; LoadImageFromFile an AttributeError.
        except Exception as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            return row, f'image {self.dataset.get_data_info(row)["img_path"]} cannot be decoded ({reason})'
        if results is None:  # LoadImage with on_error='skip'
            return row, f'image {self.dataset.get_data_info(row)["img_path"]} cannot be decoded'
        return row, torch.from_numpy(np.ascontiguousarray(results['img'][..., ::-1].transpose(2, 0, 1)))


def _keep(batch: list) -> list:
    return batch


def extract_features(network: nn.Module,
                     dataset: BaseDataset,
                     out: str | Path,
                     *,
                     mean: Sequence[float],
                     std: Sequence[float],
                     resize: int = 256,
                     size: int = 224,
                     load: Mapping[str, Any] | None = None,
                     batch_size: int = 64,
                     workers: int = 2,
                     device: str | torch.device = 'cpu',
                     on_error: str = 'stop',
                     half: bool = False,
                     labels_from_folders: bool = False,
                     source: Mapping[str, Any] | None = None,
                     overwrite: bool = False) -> Features:
    """Extracts the features of all images: the global average of the last map of a frozen network.

    Images have their short side resized (bicubic) and the center cropped. The rows are sharded over
    the ranks, each of which writes its own part of one file. The folder appears when it is whole.

    Args:
        network (nn.Module): Gives maps (N, C, h, w), or a tuple of which the last is taken. Runs in
            evaluation mode, on ``device``.
        dataset (BaseDataset): Any data set of image files of MMPretrain, or an ``ImageFolder``. Its
            own pipeline is not used.
        out (str | Path): Folder to write.
        mean (Sequence[float]): Of the input, RGB, 0 to 255.
        std (Sequence[float]): Of the input, RGB.
        resize (int): Short side in pixels. Defaults to 256.
        size (int): Side of the crop in pixels, at most ``resize``. Defaults to 224.
        load (Mapping, optional): Config of the transform that loads an image. Defaults to
            ``LoadImage``.
        batch_size (int): Images in a forward. Defaults to 64.
        workers (int): Processes that load images, per rank. Defaults to 2.
        device (str | torch.device): Where the network runs. Defaults to ``'cpu'``.
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, or ``'skip'``,
            which lists it; it will belong to no cluster. Defaults to ``'stop'``.
        half (bool): Whether to store float16 in place of float32. Defaults to False.
        labels_from_folders (bool): Whether the first folder in an image's name is its class, used in
            place of the labels of the data set. Defaults to False.
        source (Mapping, optional): Entries for ``meta.json``: ``checkpoint``, ``network``.
        overwrite (bool): Whether features that are there may be replaced. Defaults to False.

    Returns:
        Features: What was written.

    Raises:
        InputError: If an image cannot be decoded and ``on_error`` is ``'stop'``, none can, a feature
            is not finite, ``out`` exists, an option is out of range, or the disk is full.
    """
    out = Path(out)
    if on_error not in ('stop', 'skip'):
        raise InputError(f"on_error is 'stop' or 'skip', got {on_error!r}")
    if not 0 < size <= resize or batch_size < 1 or workers < 0:
        raise InputError(
            f'need 0 < size <= resize, batch_size >= 1 and workers >= 0, got size={size}, resize={resize}, '
            f'batch_size={batch_size} and workers={workers}')
    check_output(out, overwrite)
    names = image_names(dataset)
    strange = next((name for name in names if '\n' in name), None)
    if strange is not None:
        raise InputError(f'the image name {strange!r} has a line break: rename the file')
    labels, classes = _labels(dataset, names, labels_from_folders)

    pipeline = Compose([
        TRANSFORMS.build(dict(load)) if load else LoadImage(),
        ResizeEdge(resize, edge='short', backend='pillow', interpolation='bicubic'),
        CenterCrop(size),
    ])
    rank, world = get_dist_info()
    rows = range(len(names) * rank // world, len(names) * (rank + 1) // world)
    loader = DataLoader(
        _Images(dataset, rows, pipeline), batch_size=batch_size, num_workers=workers, collate_fn=_keep)
    network.to(device)
    network.eval()  # not chained: the ResNet of MMPretrain returns None
    center = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def features_of(images: Tensor) -> Tensor:
        maps = network((images.to(device).float() - center) / scale)
        return (maps if isinstance(maps, Tensor) else maps[-1]).float().mean((2, 3))

    with torch.inference_mode():
        dim = features_of(torch.zeros(1, len(mean), size, size, dtype=torch.uint8)).shape[1]
    temporary = _temporary_folder(out, (len(names), dim), np.float16 if half else np.float32)
    try:
        array = np.load(temporary / 'features.npy', mmap_mode='r+')
        stop = temporary / 'stop'  # tells the other ranks
        undecodable: list[dict[str, Any]] = []
        problem = None
        with torch.inference_mode():
            for batch in progress(loader, total=len(loader), desc='features'):
                good = [(row, image) for row, image in batch if isinstance(image, Tensor)]
                bad = [(row, reason) for row, reason in batch if isinstance(reason, str)]
                undecodable += [{'index': row, 'name': names[row], 'reason': reason} for row, reason in bad]
                if bad and on_error == 'stop':
                    problem = f'{bad[0][1]}: remove it, or go on without such images with --on-error skip'
                elif good:
                    values = features_of(torch.stack([image for _, image in good])).cpu().numpy().astype(array.dtype)
                    finite = np.isfinite(values).all(axis=1)
                    if not finite.all():
                        problem = _not_finite(names[good[int(finite.argmin())][0]], 'extracting features')
                    array[[row for row, _ in good]] = values
                if problem:
                    stop.touch()
                if stop.exists():
                    break
        array.flush()
        problem = next(filter(None, all_gather_object(problem)), None)
        undecodable = list(chain.from_iterable(all_gather_object(undecodable)))  # shards are in order
        if not problem and len(undecodable) == len(names):
            problem = f'none of the {len(names)} images can be decoded, {undecodable[0]["reason"]}: give other images'
        if problem:
            raise InputError(problem)
        if is_main_process():
            meta = {
                'format': FORMAT, 'fingerprint': fingerprint(names), 'resize': resize, 'size': size,
                'undecodable': undecodable, 'classes': classes, **(source or {})}
            with open(temporary / 'images.txt', 'w', encoding='utf-8', errors='surrogateescape', newline='\n') as file:
                file.writelines(f'{name}\n' for name in names)
            if labels is not None:
                np.save(temporary / 'labels.npy', labels)
            (temporary / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n', encoding='utf-8')
            _move(temporary, out)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise out_of_space(out) from error
        raise
    finally:
        if is_main_process():
            shutil.rmtree(temporary, ignore_errors=True)
    barrier()
    return Features.load(out)


def check_output(out: str | Path, overwrite: bool) -> None:
    """Refuses an output folder that may not be written.

    Raises:
        InputError: If it exists and ``overwrite`` is off, or it holds something else than features.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise InputError(f'{out} exists already: give another name, or pass --overwrite to replace it')
    if out.exists() and not (out / 'features.npy').is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f'{out} exists and does not hold features, so it is not replaced: give another name')


def _labels(dataset: BaseDataset, names: list[str],
            from_folders: bool) -> tuple[np.ndarray | None, list[str] | None]:
    if from_folders:
        flat = next((name for name in names if '/' not in name), None)
        if flat is not None:
            raise InputError(f'image {flat} lies in no class folder: put each image into the folder of its class')
        folders = [name.split('/', 1)[0] for name in names]
        classes = sorted(set(folders))
        number = {name: i for i, name in enumerate(classes)}
        return np.array([number[folder] for folder in folders], dtype=np.int64), classes
    labels = [dataset.get_data_info(row).get('gt_label') for row in range(len(names))]
    if not all(isinstance(label, (int, np.integer)) for label in labels):  # unlabeled, or several labels an image
        return None, None
    known = dataset.metainfo.get('classes')
    return np.array(labels, dtype=np.int64), [str(name) for name in known] if known else None


def _temporary_folder(out: Path, shape: tuple[int, int], dtype: type) -> Path:
    """Makes a folder beside ``out`` that holds the file for the features; the same one on all ranks."""
    answer: list[Any] = [None]
    if is_main_process():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent)
            answer = [folder]
            _reserve(Path(folder) / 'features.npy', shape, dtype)
        except OSError as error:
            shutil.rmtree(answer[0] or '', ignore_errors=True)
            answer = [out_of_space(out) if error.errno == errno.ENOSPC else
                      InputError(f'{out} cannot be written ({error.strerror}): give another place')]
    broadcast_object_list(answer)
    if isinstance(answer[0], InputError):
        raise answer[0]
    return Path(answer[0])


def _reserve(path: Path, shape: tuple[int, int], dtype: type) -> None:
    # A sparse memory map would end the process with SIGBUS when the disk gets full.
    open_memmap(path, mode='w+', dtype=dtype, shape=shape).flush()
    if hasattr(os, 'posix_fallocate'):
        with open(path, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _move(folder: Path, out: Path) -> None:
    """Puts a whole folder in the place of ``out``."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)  # mkdtemp makes it private
    if out.exists():
        with tempfile.TemporaryDirectory(prefix=f'.{out.name}-old-', dir=out.parent) as old:
            os.replace(out, Path(old) / 'old')
            os.replace(folder, out)
    else:
        os.replace(folder, out)
