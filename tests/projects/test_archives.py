"""Archives: read by what they are, without unpacking, and refused with one line where they are damaged or unsafe."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from package_files import make_ar, make_deb, make_tgz

from projects.real_data.archives import read_members
from sdr_mm.errors import InputError


def everything(name: str) -> bool:
    return True


@pytest.mark.parametrize('compression', ['xz', 'gzip'])
def test_debian_package_of_its_own_tool_is_read(compression: str, tmp_path: Path) -> None:
    tree = tmp_path / 'tree'
    (tree / 'DEBIAN').mkdir(parents=True)
    control = 'Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: us <us@example.org>\nDescription: sample\n'
    (tree / 'DEBIAN' / 'control').write_text(control)
    (tree / 'usr' / 'share').mkdir(parents=True)
    noise = hashlib.shake_256(b'noise').digest(300_001)  # longer than one block, of an odd length
    (tree / 'usr' / 'share' / 'noise').write_bytes(noise)
    (tree / 'usr' / 'share' / 'link').symlink_to('noise')
    deb = tmp_path / 'sample.deb'
    subprocess.run(['dpkg-deb', '--build', f'-Z{compression}', tree, deb], check=True, capture_output=True)
    assert list(read_members(deb, everything)) == [('usr/share/noise', noise)]
    assert list(read_members(deb, lambda name: name.endswith('.png'))) == []


def test_archive_inside_an_archive_is_read_from_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'inner.zip', 'w') as inner:
        inner.writestr('a/b.txt', b'deep')
    outer = make_deb({'usr/inner.zip': (tmp_path / 'inner.zip').read_bytes()})
    ((name, content),) = read_members(outer, everything)
    assert name == 'usr/inner.zip'
    assert list(read_members(content, everything)) == [('a/b.txt', b'deep')]


@pytest.mark.parametrize('name', ['../evil.png', '/evil.png', 'package/../../evil.png', '..\\evil.png', 'C:evil.png'])
def test_member_that_points_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'a.whl', 'w') as wheel:
        wheel.writestr(name, b'')
    for archive in (make_tgz({'package/good.png': b'', name: b''}), (tmp_path / 'a.whl').read_bytes()):
        with pytest.raises(InputError, match='points out of its folder'):
            list(read_members(archive, everything))


def make_wheel(tmp_path: Path) -> bytes:
    with zipfile.ZipFile(tmp_path / 'a.whl', 'w', zipfile.ZIP_DEFLATED) as wheel:
        for name in ('pictures/a.png', 'pictures/b.png', 'c.png'):
            wheel.writestr(name, name * 20)
    return (tmp_path / 'a.whl').read_bytes()


def test_no_flipped_bit_gives_other_members_in_silence(tmp_path: Path) -> None:
    whole = make_wheel(tmp_path)
    found = list(read_members(whole, lambda name: name.startswith('pictures/')))
    assert len(found) == 2
    refused = 0
    for number in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        try:
            assert list(read_members(bytes(flipped), lambda name: name.startswith('pictures/'))) == found, number
        except InputError as error:
            assert 'is damaged' in str(error) or 'points out of its folder' in str(error)
            refused += 1
    assert refused > 4 * len(whole), 'dates, versions and the like may change, and no more'


@pytest.mark.parametrize('kind', ['zip', 'tgz', 'deb'])
def test_what_unpacks_to_far_more_than_its_size_is_not_unpacked(kind: str, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sdr_mm.zip_files.SMALL', 1 << 20)
    zeros = bytes(4 << 20)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a', zeros)
    bomb = {'zip': (tmp_path / 'a.zip').read_bytes(), 'tgz': make_tgz({'a': zeros}),
            'deb': make_deb({'a': zeros})}[kind]
    with pytest.raises(InputError, match=r'sample is damaged \(its [\d,]+ bytes unpack to 4,194,304\)'):
        list(read_members(bomb, everything, 'sample'))


def test_links_are_passed_by(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / 'a.tgz', 'w:gz') as tar:
        link = tarfile.TarInfo('package/link.png')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
    assert list(read_members(tmp_path / 'a.tgz', everything)) == []


def make_zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr(name, b'')
    return buffer.getvalue()


NOISE = hashlib.shake_256(b'noise').digest(100_000)
DAMAGED = {
    'cut tgz': make_tgz({'package/a': NOISE})[:50_000],
    'cut deb': make_deb({'usr/a': NOISE})[:50_000],
    'deb cut in a header': make_deb({'usr/a': NOISE})[:90],
    'deb without files': make_ar({'debian-binary': b'2.0\n'}),
    # Their directory says that names are in UTF-8.
    'zip with a name that is not in UTF-8': make_zip('ü.png').replace('ü'.encode(), b'\xff\xfe'),
    'not an archive': b'no archive at all',
    'nothing': b''}


@pytest.mark.parametrize('data', DAMAGED.values(), ids=DAMAGED)
def test_damaged_archive_ends_with_one_line(data: bytes, tmp_path: Path) -> None:
    archive = tmp_path / 'archive'
    archive.write_bytes(data)
    with pytest.raises(InputError, match='archive is damaged') as error:
        list(read_members(archive, everything))
    assert '\n' not in str(error.value)


def test_compression_that_is_not_read_is_named() -> None:
    archive = make_ar({'debian-binary': b'2.0\n', 'control.tar.zst': b'', 'data.tar.zst': b''})
    with pytest.raises(InputError, match='sample is compressed with zstd.*Debian'):
        list(read_members(archive, everything, 'sample'))


def test_damage_that_only_the_checksum_of_a_tgz_tells_is_refused(tmp_path: Path) -> None:
    packed = make_tgz({'package/a.png': hashlib.shake_256(b'noise').digest(20_000)})
    refused = 0
    for place in range(200, len(packed) - 200, 997):
        (tmp_path / 'a.tgz').write_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1:])
        with pytest.raises(InputError, match='a.tgz is damaged'):
            list(read_members(tmp_path / 'a.tgz', everything))
        refused += 1
    assert refused > 15
