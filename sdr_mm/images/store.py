"""Images for frozen networks: decoded once, resized and cropped alike for all of them."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cli import progress
from ..errors import InputError
from .normalization import IMAGENET
from .reading import read_rgb

ImageSource = str | PathLike[str] | np.ndarray
"""An image: a file, or an array ``(H, W, 3)``, uint8, RGB."""

MEMORY = 4 * 2**30
"""Bytes of memory that the decoded images of one :class:`ImageStore` may take."""

DISK = 0.5
"""Part of the free space for temporary files that they may take instead."""

LARGEST = 1 << 25
"""Pixels of a resized image that is made as a whole. Of a larger one, such as a strip of 1 x 8000 pixels whose short
side is enlarged, only what is kept is computed, so a small file cannot fill the memory."""


class ImageStore:
    """Images as uint8 squares: short side to ``resize`` (bicubic), center crop of ``size``.

    Each image is decoded when it is first asked for, by ``workers`` threads, and kept, so that ranking hundreds of
    networks decodes each image once: in memory, or in a temporary file that goes with the process. Where both are too
    small each use decodes again.

    Args:
        paths (Sequence[ImageSource]): The images, files or arrays.
        resize (int): Short side after resizing, in pixels. Defaults to 256.
        size (int): Side of the crop, in pixels, at most ``resize``. Defaults to 224.
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, or ``'skip'``, which leaves it out
            and notes its number and the reason in ``failed``. Defaults to 'stop'.
        read (Callable): Reads a file, ``(H, W, 3)`` uint8 RGB. Defaults to :func:`read_rgb`.
        workers (int): Threads that decode. Defaults to 2.
        memory (int): Bytes that may be kept in memory. Defaults to :data:`MEMORY`.
        disk (float): Part of the free space for temporary files that may be taken. Defaults to :data:`DISK`.

    Raises:
        InputError: If the sizes do not fit, or ``on_error`` is something else.
    """

    def __init__(self, paths: Sequence[ImageSource], *, resize: int = 256, size: int = 224, on_error: str = 'stop',
                 read: Callable[[str | PathLike[str]], np.ndarray] = read_rgb, workers: int = 2, memory: int = MEMORY,
                 disk: float = DISK) -> None:
        if not 0 < size <= resize:
            raise InputError(f'the crop must fit into the resized image: need 0 < size <= resize, got size={size} and '
                             f'resize={resize}')
        if on_error not in ('stop', 'skip'):
            raise InputError(f"on_error is 'stop' or 'skip', got {on_error!r}")
        self.paths, self.read = list(paths), read
        self.resize, self.size, self.on_error, self.workers = resize, size, on_error, max(1, workers)
        self.failed: dict[int, str] = {}
        self._kept = _room((len(self.paths), size, size, 3), memory, disk)
        self._ready = np.zeros(len(self.paths), dtype=bool)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def decode(self, index: int) -> np.ndarray | None:
        """Reads one image, ``(size, size, 3)`` uint8; None if it is to be skipped.

        Raises:
            InputError: If it cannot be decoded and ``on_error`` is ``'stop'``.
        """
        if self._kept is not None and self._ready[index]:
            return np.asarray(self._kept[index])
        if index in self.failed:
            return None
        try:
            image = self.paths[index]
            if not isinstance(image, np.ndarray):
                image = self.read(image)
            elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError('an image in memory must be an array (height, width, 3) of uint8, got '
                                 f'{image.shape} of {image.dtype}: convert it to RGB')
            image = resize_and_crop(image, self.resize, self.size)
        except InputError as error:
            if self.on_error == 'stop':
                raise
            self.failed[index] = str(error).rsplit(': ', 1)[0]  # without the advice
            return None
        if self._kept is not None:
            self._kept[index] = image
            self._ready[index] = True
        return image

    def get(self, indices: np.ndarray) -> np.ndarray:
        """Images ``(n, size, size, 3)``, uint8, without those that are to be skipped; raises as :meth:`decode`."""
        indices = np.asarray(indices)
        if self._kept is not None and self._ready[indices].all():
            return np.asarray(self._kept[indices])
        with ThreadPoolExecutor(self.workers) as pool:
            images = [image for image in pool.map(self.decode, indices.tolist()) if image is not None]
        return np.stack(images) if images else np.empty((0, self.size, self.size, 3), np.uint8)

    def read_all(self, desc: str = 'reading images', indices: np.ndarray | None = None) -> np.ndarray:
        """Decodes the images at ``indices``, or all, with a progress bar; so a bad one is known before the long work.

        Gives the numbers of those that can be decoded, in the same order; raises as :meth:`decode`.
        """
        wanted = list(range(len(self))) if indices is None else indices.tolist()
        with ThreadPoolExecutor(self.workers) as pool:
            for _ in progress(pool.map(self.decode, wanted), len(wanted), desc):
                pass
        return np.array([index for index in wanted if index not in self.failed], dtype=np.int64)

    def batches(self, indices: np.ndarray, batch_size: int, *, mean: Sequence[float] = IMAGENET.mean,
                std: Sequence[float] = IMAGENET.std, device: str | torch.device = 'cpu') -> Iterator[Tensor]:
        """The images at ``indices``, in this order, normalized.

        The batches are of nearly equal size, so that none is left with one image, of which a BN layer could take no
        statistics. The next one is decoded while the caller works with the one before.

        Args:
            indices (np.ndarray): (n,) numbers of images.
            batch_size (int): Most images in a batch.
            mean (Sequence[float]): Per channel, RGB, 0 to 255. Defaults to ImageNet's.
            std (Sequence[float]): Per channel. Defaults to ImageNet's.
            device (str | torch.device): Where to. Defaults to 'cpu'.

        Yields:
            Tensor: (batch, 3, size, size) float32.

        Raises:
            InputError: If ``batch_size`` is less than 1, and as :meth:`decode`.
        """
        center = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        scale = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        parts = split(indices, batch_size)
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self.get, part) for part in parts[:1]]
            for number in range(len(parts)):
                images = coming.pop().result()
                coming += [reader.submit(self.get, part) for part in parts[number + 1:number + 2]]
                if len(images):
                    yield (torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() - center) / scale


def split(indices: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Parts of nearly equal size, of at most ``batch_size``; raises an InputError if that is less than 1."""
    if batch_size < 1:
        raise InputError(f'a batch has at least one image, got batch_size={batch_size}')
    return np.array_split(indices, -(-len(indices) // batch_size)) if len(indices) else []


def _room(shape: tuple[int, ...], memory: int, disk: float) -> np.ndarray | None:
    """Where to keep so many bytes; None if there is no place."""
    size = math.prod(shape)
    if size <= memory:
        return np.empty(shape, np.uint8)
    if size <= disk * shutil.disk_usage(tempfile.gettempdir()).free:
        # The file has no name any more, so nothing is left of it when the process ends, however it ends.
        return np.memmap(tempfile.TemporaryFile(), np.uint8, 'r+', shape=shape)
    return None


def resize_and_crop(image: np.ndarray, resize: int, size: int) -> np.ndarray:
    """Short side to ``resize`` (bicubic), then the center of ``size``: torchvision's ``Resize`` and ``CenterCrop``.

    Everything that looks at images with a frozen network goes through here, so all of them see the same pixels. They
    equal torchvision's but for rounding where the resized image would be larger than :data:`LARGEST`.

    Args:
        image (np.ndarray): (H, W, 3) uint8.
        resize (int): Short side in pixels.
        size (int): Side of the crop in pixels, at most ``resize``.

    Returns:
        np.ndarray: (size, size, 3) uint8.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if short != resize:
        # Rounded down, and the crop to the nearest even half, as torchvision does.
        width, height = int(resize * width / short), int(resize * height / short)
    top, left = round((height - size) / 2), round((width - size) / 2)
    if width * height > LARGEST:
        return _resize_center(image, (width, height), (left, top), size)
    if short != resize:
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    return image[top:top + size, left:left + size]


def _resize_center(image: np.ndarray, resized: tuple[int, int], corner: tuple[int, int], size: int) -> np.ndarray:
    """The crop of ``size`` at ``corner`` (left, top) of the image as ``resized`` (width, height), made by itself."""
    part, box = [], []
    for whole, length, start in zip(image.shape[1::-1], resized, corner):
        scale = whole / length
        low, high = start * scale, (start + size) * scale
        # All that the pixels at the rim depend on. Pillow keeps a box in single precision, so it should begin near 0.
        margin = 2 * math.ceil(max(scale, 1)) + 2
        first, last = max(0, math.floor(low) - margin), min(whole, math.ceil(high) + margin)
        part.append(slice(first, last))
        box.append((low - first, high - first))
    (x0, x1), (y0, y1) = box
    picture = Image.fromarray(np.ascontiguousarray(image[part[1], part[0]]))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, (x0, y0, x1, y1)))
