"""Zip archives: what they say of themselves is true, or they are refused."""

import io
import struct
import zipfile

import pytest

from sdr_mm.zip_files import ERRORS, check_size, open_zip, read_member

FILES = {'a.txt': b'first ' * 50, 'folder/b.txt': b'', 'ü.bin': bytes(range(256))}


def make(target=None, compression=zipfile.ZIP_DEFLATED, files=FILES):
    target = io.BytesIO() if target is None else target
    with zipfile.ZipFile(target, 'w', compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.comment = b'a comment'
    return target.getvalue()


class Stream(io.RawIOBase):
    """Can only be written, so that sizes follow each member."""

    def __init__(self):
        self.content = b''

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data)
        return len(data)

    def getvalue(self):
        return self.content


@pytest.mark.parametrize('target', [io.BytesIO, Stream], ids=['file', 'stream'])
@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_archive_is_read(target, compression):
    archive = open_zip(io.BytesIO(make(target(), compression)))
    assert {name: read_member(archive, name) for name in archive.namelist()} == FILES


def test_an_empty_archive_is_one():
    assert open_zip(io.BytesIO(make(files={}))).namelist() == []


def test_a_directory_that_lacks_a_member_is_refused():
    whole = make()
    for lost in FILES:
        kept = io.BytesIO(whole)
        with zipfile.ZipFile(kept, 'a') as archive:
            info = archive.NameToInfo.pop(lost)
            archive.filelist.remove(info)
            archive.comment = b'another one'  # the directory is written again
        assert lost not in zipfile.ZipFile(kept).namelist()
        with pytest.raises(zipfile.BadZipFile, match='that its directory lacks'):
            open_zip(kept)


@pytest.mark.parametrize('old, new', [(b'a.txt', b'b.txt'), (b'a.txt', b'a.tx/'), (b'folder/', b'f0lder/')])
def test_a_name_that_only_the_directory_has_is_refused(old, new):
    whole = make()
    place = whole.rindex(old)  # the directory comes after the members
    with pytest.raises(zipfile.BadZipFile, match='says something else'):
        open_zip(io.BytesIO(whole[:place] + new + whole[place + len(old):]))


def test_names_that_are_there_twice_are_refused():
    whole = make(files={'a': b'1', 'b': b'2'}).replace(b'b', b'a')
    with pytest.raises(zipfile.BadZipFile, match='twice'):
        open_zip(io.BytesIO(whole))


@pytest.mark.parametrize('compression', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack_are_refused(compression):
    with pytest.raises(zipfile.BadZipFile, match='packed by method'):
        open_zip(io.BytesIO(make(compression=compression)))


def test_a_member_that_is_longer_than_it_says_is_not_unpacked():
    whole = make(files={'a': bytes(1 << 16)})
    lie = whole.replace(struct.pack('<L', 1 << 16), struct.pack('<L', 10))
    assert lie != whole
    archive = open_zip(io.BytesIO(lie))
    with pytest.raises(ERRORS):
        read_member(archive, 'a')


def test_a_small_archive_may_unpack_to_much_and_a_large_one_to_200_times_its_size():
    check_size(64 << 20, 1)
    check_size(200 << 20, 1 << 20)
    for unpacked, packed in (((64 << 20) + 1, 1), ((200 << 20) + 1, 1 << 20)):
        with pytest.raises(zipfile.BadZipFile, match='unpack to'):
            check_size(unpacked, packed)
