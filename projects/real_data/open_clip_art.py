"""A task of drawings: the folder of the Open Clip Art Library that holds a picture."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from pathlib import PurePosixPath

from .archives import read_members
from .data_set import Archives, Options, Picture, folder_name
from .packages import Package

OPEN_CLIP_ART = Package(
    'debian', 'openclipart-png', '1:0.18+dfsg-19',
    'f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02', 130.9,
    'public domain', 'The Open Clip Art Library and its contributors')
FOLDER = 'usr/share/openclipart/png/'
# Folders that say nothing about what their pictures show.
NO_SUBJECT = ('special', 'unsorted')
# Below this a folder has too few pictures to be split: leaves 16 of 20.
MINIMUM = 20
# One picture has 623 million, which is two gigabytes decoded; the next largest has a tenth of these.
MAX_PIXELS = 2**26


def open_clip_art(archives: Archives, options: Options) -> list[Picture]:
    """Pictures by the library's topmost folders, each distinct file once."""
    pictures: list[Picture] = []
    seen: set[bytes] = set()
    found = read_members(archives[OPEN_CLIP_ART], lambda name: name.startswith(FOLDER) and name.endswith('.png'))
    for name, data in sorted(found):
        path = PurePosixPath(name.removeprefix(FOLDER))
        width, height = struct.unpack('>II', data[16:24])  # of a PNG's first chunk
        content = hashlib.sha256(data).digest()
        if path.parts[0] not in NO_SUBJECT and width * height <= MAX_PIXELS and content not in seen:
            seen.add(content)
            pictures.append(Picture(folder_name(path.parts[0]), '-'.join(path.parts[1:])[:-len('.png')], data))
    sizes = Counter(picture.group for picture in pictures)
    return [picture for picture in pictures if sizes[picture.group] >= MINIMUM]
