"""What stands beside the pixels in an image file: the orientation, which is needed, and the rest, which is not."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

ORIENTATION = 0x0112
PNG = b'\x89PNG\r\n\x1a\n'
JPEG = b'\xff\xd8\xff'

ANCILLARY = frozenset((b'acTL', b'bKGD', b'cHRM', b'cICP', b'eXIf', b'fcTL', b'fdAT', b'gAMA', b'hIST', b'iCCP',
                       b'iTXt', b'pHYs', b'sBIT', b'sPLT', b'sRGB', b'tEXt', b'tIME', b'zTXt'))
"""Chunks of a PNG without which the pixels of its first frame are the same."""

TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}
"""What turns an image upright, by its EXIF orientation."""


def orientation(image: Image.Image) -> int | None:
    """The EXIF orientation of a loaded image, if it has one, whatever else its EXIF holds."""
    exif = image.info.get('exif')
    if isinstance(exif, bytes) and (found := _exif_orientation(exif.removeprefix(b'Exif\0\0'))):
        return found
    try:  # of TIFF, and of PNG's and XMP's older ways
        found = image.getexif().get(ORIENTATION)
    except Exception:  # Pillow raises nearly anything on damaged entries
        return None
    return found if isinstance(found, int) else None


def turn(image: Image.Image, orientation: int | None) -> Image.Image:
    """Turns an image upright; an orientation of no meaning does nothing."""
    method = TURNS.get(orientation or 1)
    return image if method is None else image.transpose(method)


def _exif_orientation(exif: bytes) -> int | None:
    """Finds the one entry in the first directory; Pillow gives up at the first one that is damaged."""
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    start = struct.unpack(f'{order}I', exif[4:8])[0] + 2
    for position in range(start, len(exif) - 11, 12):
        tag, kind, count = struct.unpack(f'{order}HHI', exif[position:position + 8])
        if tag == ORIENTATION and count == 1 and kind in (1, 3, 4):
            size, letter = {1: (1, 'B'), 3: (2, 'H'), 4: (4, 'I')}[kind]
            return int(struct.unpack(order + letter, exif[position + 8:position + 8 + size])[0])
        if position >= start + 12 * (struct.unpack(f'{order}H', exif[start - 2:start])[0] - 1):
            break
    return None


def check_png(data: bytes) -> None:
    """Compares the checksums of all that makes the pixels of a PNG. Pillow does not and would show other pixels.

    Other data are not looked at.

    Raises:
        ValueError: If one is wrong, or the file ends before it.
    """
    for kind, chunk in _png_chunks(data) if data.startswith(PNG) else []:
        name = kind.decode('ascii', 'replace')
        if kind in ANCILLARY or kind == b'IEND':
            continue
        if len(chunk) < 12 + int.from_bytes(chunk[:4], 'big'):
            raise ValueError(f'the file ends in the middle of {name}')
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], 'big'):
            raise ValueError(f'damaged: wrong checksum of {name}')


def without_metadata(data: bytes) -> bytes:
    """A PNG or JPEG file with what the pixels and the orientation need, and nothing else; other data as they are."""
    if data.startswith(PNG):
        return PNG + b''.join(chunk for kind, chunk in _png_chunks(data) if kind not in ANCILLARY or kind == b'eXIf')
    if not data.startswith(JPEG):
        return data
    kept, position = [data[:2]], 2
    while data[position:position + 1] == b'\xff' and len(data) > position + 4:
        marker, end = data[position + 1], position + 2 + int.from_bytes(data[position + 2:position + 4], 'big')
        if marker == 0xda:  # the pixels begin
            break
        segment = data[position:end]
        # APP0 and APP14 say what the colors are. The others and comments say nothing that is needed, but for EXIF.
        if not (0xe1 <= marker <= 0xef and marker != 0xee or marker == 0xfe) or segment[4:10] == b'Exif\0\0':
            kept.append(segment)
        position = end
    return b''.join([*kept, data[position:]])


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and bytes of each chunk up to the last one, which may be cut off."""
    chunks, position = [], len(PNG)
    while position + 8 <= len(data):
        kind = data[position + 4:position + 8]
        end = position + 12 + int.from_bytes(data[position:position + 4], 'big')
        chunks.append((kind, data[position:end]))
        if kind == b'IEND':
            break
        position = end
    return chunks
