"""Zip archives that hold what they say: sizes are known before anything is unpacked, and no member is lost unseen."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

SMALL = 64 << 20
"""Bytes that an archive may unpack to, however small it is."""

RATIO = 200
"""How many times its own size a larger one may unpack to. Deflate reaches 1,000 times, for zeros."""

ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError)
"""What a damaged archive raises while it is opened and read; by RuntimeErrors zipfile says what it cannot unpack."""

_LOCAL = struct.Struct('<4s5H3L2H')
_END = struct.Struct('<4s4H2LH')


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Opens a zip archive whose directory agrees with the header of each member.

    Python's ``zipfile`` believes the directory: a flipped bit in it hides a member or gives another one.

    Raises:
        BadZipFile: If they disagree, a member is missing from the directory, packed in another way than by deflate,
            encrypted or there twice, or all of them unpack to more than an honest archive of this size would.
    """
    archive = zipfile.ZipFile(file)
    size = file.seek(0, 2)
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    check_size(sum(member.file_size for member in members), size)
    if len({member.filename for member in members}) < len(members):
        raise zipfile.BadZipFile('it has a name twice')
    end = 0
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise zipfile.BadZipFile(f'{member.filename!r} is encrypted or packed by method {member.compress_type}')
        # A descriptor of up to 24 bytes follows a member that was written as a stream.
        if not 0 <= member.header_offset - end <= 24 * bool(end):
            raise zipfile.BadZipFile(f'there is something before {member.filename!r} that its directory lacks')
        end = _check_header(file, member)
    if not 0 <= archive.start_dir - end <= 24 * bool(end):
        raise zipfile.BadZipFile('there is something after the last member that its directory lacks')
    file.seek(size - _END.size - len(archive.comment))
    found = _END.unpack(file.read(_END.size))
    if found[0] != b'PK\5\6' or found[4] not in (len(members), 0xffff):
        raise zipfile.BadZipFile(f'it counts {found[4]} members and lists {len(members)}')
    return archive


def check_size(unpacked: int, packed: int) -> None:
    """Raises a BadZipFile if so many bytes are more than an honest archive of ``packed`` bytes unpacks to."""
    if unpacked > max(SMALL, RATIO * packed):
        raise zipfile.BadZipFile(f'its {packed:,} bytes unpack to {unpacked:,}')


def _check_header(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Compares the header in front of a member with the directory; where the member ends."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(header)
    name, extra = file.read(name_size), file.read(extra_size)
    while len(extra) >= 4 and (packed, size) == (0xffffffff, ) * 2:
        kind, length = struct.unpack_from('<2H', extra)
        if kind == 1 and length >= 16:  # zip64
            size, packed = struct.unpack_from('<2Q', extra, 4)
        extra = extra[4 + length:]
    known = (crc, packed, size) == (member.CRC, member.compress_size, member.file_size)
    streamed = bool(flags & 8)
    if magic != b'PK\3\4' or (flags, method) != (member.flag_bits, member.compress_type) or not (
            known or streamed and (crc, packed, size) == (0, 0, 0)) or (
            name.decode('utf-8' if flags & 0x800 else 'cp437', 'replace') != member.orig_filename):
        raise zipfile.BadZipFile(f'its directory says something else of {member.filename!r} than the member does')
    return int(member.header_offset + _LOCAL.size + name_size + extra_size + member.compress_size)


def stored_place(file: BinaryIO, member: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and length of the content of a member that is not packed, in an archive of :func:`open_zip`.

    Raises:
        BadZipFile: If it is packed, or of two lengths.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise zipfile.BadZipFile(f'{member.filename!r} is packed, or has two lengths')
    return _check_header(file, member) - member.compress_size, member.file_size


def read_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo) -> bytes:
    """The content of a member, no more of it unpacked than its size says, and its checksum compared.

    Raises:
        BadZipFile: If it is of another size or checksum.
    """
    info = archive.getinfo(member) if isinstance(member, str) else member
    with archive.open(info) as opened:
        content = opened.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise zipfile.BadZipFile(f'{info.filename!r} has {len(content):,} bytes instead of {info.file_size:,}')
    return content
