"""Arrays of an ``.npz`` that stay in their file, of which as much is read as is asked for."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .errors import InputError
from .zip_files import stored_place

CHUNK = 1 << 20
"""Numbers that are worked on at a time where there may be any number of them."""

_HEADER = 1 << 12
_VERSION = (1, 0)


class StoredArray:
    """Whole numbers in one dimension in a member of an ``.npz`` that is stored, not packed.

    Numbers are read by their place and not kept, so that a process has no memory of them, however many were read. The
    system keeps the pages of the file, once for all processes of a machine. Of a memory map that would be as true, but
    it counts as memory of each process, and ends it without a word if somebody cuts the file.

    A copy of it in another process opens the file again, and accepts no other one.

    Args:
        file (BinaryIO): The archive.
        archive (ZipFile): What :func:`~sdr_mm.zip_files.open_zip` made of it.
        name (str): Of the array.

    Raises:
        InputError: If it is packed.
        BadZipFile, ValueError: If the member holds something else.
    """

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, name: str) -> None:
        info = archive.getinfo(f'{name}.npy')
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(f'{name}.npy is packed and cannot be read in parts: make the file again')
        start, length = stored_place(file, info)
        self.path, self.name = os.path.abspath(file.name), name
        self._file: BinaryIO | None = None
        self._stamp = _stamp(file)
        self._crc = info.CRC
        file.seek(start)
        head = io.BytesIO(file.read(min(length, _HEADER)))
        if np.lib.format.read_magic(head) != _VERSION:
            raise ValueError(f'{name} is no array of version {_VERSION}')
        shape, _, self.dtype = np.lib.format.read_array_header_1_0(head)
        if len(shape) != 1 or self.dtype.kind not in 'iu' or head.tell() + shape[0] * self.dtype.itemsize != length:
            raise ValueError(f'{name} holds something else than {length} bytes of whole numbers')
        self.size = shape[0]
        self._head, self._start = head.getvalue()[:head.tell()], start + head.tell()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_file': None}

    def rows(self, starts: np.ndarray, width: int = 1) -> np.ndarray:
        """(n, width): so many numbers from each of the n places ``starts`` on, which all lie in the array.

        Raises:
            InputError: If the file was changed since, or cannot be read any more.
        """
        count, size = width * self.dtype.itemsize, self.dtype.itemsize
        try:
            descriptor = self._opened().fileno()
            # By their place, because processes that were forked share where a file was read last.
            data = b''.join([os.pread(descriptor, count, self._start + size * start) for start in starts.tolist()])
        except OSError as error:
            raise InputError(f'{self.path} cannot be read any more ({error.strerror}): make it readable') from error
        if len(data) != count * len(starts):
            raise self._changed()
        return np.frombuffer(data, self.dtype).reshape(-1, width)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The numbers from ``start`` to ``stop - 1``, at most :data:`CHUNK` of them; errors as of :meth:`rows`."""
        return self.rows(np.array([start]), stop - start).reshape(-1)

    def read_all(self) -> np.ndarray:
        """All numbers, their checksum compared; errors as of :meth:`rows`."""
        array, checksum = np.empty(self.size, self.dtype), zlib.crc32(self._head)
        for start in range(0, self.size, CHUNK):
            part = self.read(start, min(start + CHUNK, self.size))
            checksum = zlib.crc32(part.data, checksum)
            array[start:start + part.size] = part
        if checksum != self._crc:
            raise InputError(f'{self.path}: {self.name} is damaged, its checksum is another one: make the file again')
        return array

    def _opened(self) -> BinaryIO:
        if self._file is None:
            file = open(self.path, 'rb', buffering=0)  # noqa: SIM115, it stays open
            if _stamp(file) != self._stamp:
                file.close()
                raise self._changed()
            self._file = file
        return self._file

    def _changed(self) -> InputError:
        return InputError(f'{self.path} was changed while it was in use: start again with the file as it is now')


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    """What tells a file from another one, or from a later state of it."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Chunks(NamedTuple):
    """An array in one dimension that need not be in memory as a whole.

    Args:
        size (int): Its length.
        dtype (np.dtype): What it is written as.
        parts (Iterable[np.ndarray]): Its numbers, in order.
    """

    size: int
    dtype: np.dtype
    parts: Iterable[np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray, dtype: np.dtype) -> Chunks:
        """Those of an array that is in memory."""
        return cls(len(array), dtype, (array[start:start + CHUNK] for start in range(0, len(array), CHUNK)))


def write_npz(file: BinaryIO, packed: Mapping[str, np.ndarray], stored: Mapping[str, Chunks]) -> None:
    """Writes an ``.npz`` whose ``stored`` arrays a :class:`StoredArray` reads and ``np.load`` as well."""
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, array in packed.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        for name, chunks in stored.items():
            # Of a fixed date, as that of the others, so that equal clusters are equal files.
            with archive.open(zipfile.ZipInfo(f'{name}.npy'), 'w', force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, dict(
                    descr=np.lib.format.dtype_to_descr(chunks.dtype), fortran_order=False, shape=(chunks.size, )))
                written = 0
                for part in chunks.parts:
                    member.write(np.ascontiguousarray(part, chunks.dtype).data)
                    written += part.size
            assert written == chunks.size, f'{name} has {written} numbers instead of {chunks.size}'
