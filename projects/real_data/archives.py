"""Reading the archives that packages are, without unpacking them to the disk."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from sdr_mm.errors import InputError
from sdr_mm.zip_files import ERRORS, check_size, open_zip, read_member

ZIP_MAGIC = b'PK\x03\x04'
GZIP_MAGIC = b'\x1f\x8b'
AR_MAGIC = b'!<arch>\n'


def read_members(archive: str | Path | bytes, wanted: Callable[[str], bool],
                 where: str = '') -> Iterator[tuple[str, bytes]]:
    """Reads the wanted files of a ``.tgz``, a zip file (which a wheel is) or a ``.deb``, in the archive's order.

    Nothing is unpacked to the disk. Links and devices are passed by.

    Args:
        archive (str | Path | bytes): The archive, or its content.
        wanted (Callable): Tells by the name of a member (without a leading ``./``) whether it is wanted.
        where (str): What errors call the archive. Defaults to its path.

    Yields:
        tuple[str, bytes]: Name and content.

    Raises:
        InputError: If the archive is damaged, unpacks to far more than its size, or a wanted name is absolute or climbs
            with ``..``.
    """
    where = where or ('the archive' if isinstance(archive, bytes) else str(archive))
    with io.BytesIO(archive) if isinstance(archive, bytes) else open(archive, 'rb') as file:
        packed, unpacked = file.seek(0, os.SEEK_END), 0
        file.seek(0)
        magic = file.read(len(AR_MAGIC))
        members = (_zip_members if magic.startswith(ZIP_MAGIC) else _gzip_members if magic.startswith(GZIP_MAGIC) else
                   _deb_members if magic == AR_MAGIC else _tar_members)
        if magic != AR_MAGIC:
            file.seek(0)
        try:
            for name, size, read in members(file, where):
                if wanted(name):
                    unpacked += size
                    check_size(unpacked, packed)
                    yield _inside(name, where), read()
        except (tarfile.TarError, lzma.LZMAError, ValueError, OSError, *ERRORS) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f'{where} is damaged ({error}): remove it and fetch it again') from error


Members = Iterator[tuple[str, int, Callable[[], bytes]]]
"""Name, size and how to read it."""


def _zip_members(file: BinaryIO, where: str) -> Members:
    with open_zip(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, partial(read_member, archive, info)


def _gzip_members(file: Any, where: str) -> Members:
    # tarfile does not look at the checksum, which comes last: whoever reads to the end learns of it.
    with gzip.GzipFile(fileobj=file) as content:
        yield from _tar_members(content, where)
        while content.read(1 << 20):
            pass


def _tar_members(file: Any, where: str) -> Members:  # anything with a read method
    with tarfile.open(fileobj=file, mode='r|*') as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.removeprefix('./'), member.size, content.read


def _deb_members(file: BinaryIO, where: str) -> Members:
    """Files of a Debian package: the member ``data.tar.*`` of an ``ar`` archive (deb(5)).

    Read here and not by ``dpkg-deb``, so that a file from elsewhere can be used where there is no
    dpkg. Debian compresses with xz, which Python knows; zstd, which Ubuntu takes, is not read.
    """
    while header := file.read(60):
        if len(header) < 60 or header[58:] != b'`\n' or not header[48:58].strip().isdigit():
            break
        name = header[:16].decode('ascii', errors='replace').rstrip(' /')
        size = int(header[48:58])
        if name.endswith('.zst'):
            raise InputError(f'{where} is compressed with zstd, which is not read: take the file that Debian has')
        if name.startswith('data.tar'):
            yield from _tar_members(_Part(file, size), where)
            return
        file.seek(size + size % 2, os.SEEK_CUR)
    raise tarfile.ReadError('it has no data.tar')


class _Part:
    """The next ``size`` bytes of a file, as a file that can only be read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left = file, size

    def read(self, size: int) -> bytes:
        block = self.file.read(min(size, self.left))
        self.left -= len(block)
        return block


def _inside(name: str, where: str) -> str:
    """The name itself, if it stays inside the folder that it is put in."""
    if name.startswith('/') or '\\' in name or ':' in name or '..' in PurePosixPath(name).parts:
        raise InputError(f'{where} holds {name!r}, which points out of its folder: do not use this file')
    return name
