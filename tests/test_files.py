"""Atomic writing, and errors as one line."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from repository import ROOT

from sdr_mm.cli import run
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_folder, check_output, read_lines
from sdr_mm.images import find_images, read_rgb
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.records import read_json


def test_file_appears_whole_with_usual_permissions(tmp_path):
    with atomic_write(tmp_path / 'new/file.txt') as temporary:
        temporary.write_text('content')
        assert not (tmp_path / 'new/file.txt').exists()
    assert (tmp_path / 'new/file.txt').read_text() == 'content'
    (tmp_path / 'usual').touch()
    assert (tmp_path / 'new/file.txt').stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_file_that_is_there_is_kept_unless_told_otherwise(tmp_path):
    file = tmp_path / 'file'
    file.write_text('old')
    with pytest.raises(InputError, match='exists already'), atomic_write(file) as temporary:
        temporary.write_text('new')
    assert file.read_text() == 'old'
    with atomic_write(file, overwrite=True) as temporary:
        temporary.write_text('new')
    assert file.read_text() == 'new'


def test_a_device_or_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for check in (lambda path: check_output(path, overwrite=True), lambda path: atomic_write(path, True).__enter__()):
        with pytest.raises(InputError, match='device or pipe: give the name of a file'):
            check(tmp_path / 'pipe')
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_failure_leaves_neither_a_part_nor_a_change(tmp_path):
    file = tmp_path / 'file'
    file.write_text('old')
    with pytest.raises(KeyError), atomic_write(file, overwrite=True) as temporary:
        temporary.write_text('half')
        raise KeyError
    assert file.read_text() == 'old' and list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='the device that is always full is Linux only')
def test_full_disk_is_said_in_one_line_and_loses_nothing(tmp_path):
    file = tmp_path / 'file'
    file.write_text('old')
    with (pytest.raises(InputError, match='no space left'), atomic_write(file, overwrite=True),
          open('/dev/full', 'w') as full):
        full.write('x' * 100_000)
    assert file.read_text() == 'old' and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('raising', [
    "raise InputError('there is no spoon: bend yourself')",
    "raise InputError('Caught InputError in DataLoader worker process 0.\\nOriginal Traceback:\\n  File x\\n"
    "sdr_mm.errors.InputError: there is no spoon: bend yourself')",
    "import os; raise OSError(28, os.strerror(28), 'spoon')",
])
def test_tool_ends_with_one_line_and_status_2(raising):
    code = f'from sdr_mm.cli import run\nfrom sdr_mm.errors import InputError\ndef main():\n    {raising}\nrun(main)'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.returncode == 2
    line, = done.stderr.splitlines()
    assert line.startswith('error: ') and 'spoon' in line


def test_error_of_another_kind_is_not_hidden():
    def main():
        raise RuntimeError('a fault of ours')

    with pytest.raises(RuntimeError):
        run(main)


def test_what_could_not_be_written_is_refused_before_the_work(tmp_path):
    file, folder, strange = tmp_path / 'a.json', tmp_path / 'features', tmp_path / 'strange'
    file.write_text('old')
    for made in (folder, strange):
        made.mkdir()
    (folder / 'features.npy').touch()
    (strange / 'photo.jpg').touch()
    check_output(None, overwrite=False)
    check_output(tmp_path / 'new' / 'a.json', overwrite=False)
    check_output(file, overwrite=True)
    check_output(folder, overwrite=True, holds='features.npy')
    for out, overwrite, holds, message in (
            (file, False, None, 'exists already'), (folder, True, None, 'it is a folder'),
            (folder, False, 'features.npy', 'exists already'), (strange, True, 'features.npy', 'does not hold'),
            (file, True, 'features.npy', 'does not hold'), (file / 'a.json', False, None, 'is no folder')):
        with pytest.raises(InputError, match=message):
            check_output(out, overwrite, holds=holds)


NOWHERE = '/proc/nowhere/a.json'  # Root may write anywhere, by the permissions; but not here.


@pytest.mark.skipif(not Path('/proc').exists(), reason='Linux only')
def test_a_place_where_nothing_can_be_written_is_found_before_the_work():
    for refused in (lambda: check_output(NOWHERE, False), lambda: check_output('/proc/a', False, holds='b'),
                    lambda: check_folder('/proc/a/b'), lambda: check_folder('/proc')):
        with pytest.raises(InputError, match='^/proc.* cannot be written .*: give another place$'):
            refused()
    with pytest.raises(InputError, match=f'^{NOWHERE} cannot be written'), atomic_write(NOWHERE):
        pass


@pytest.fixture
def mine():
    """A folder of a user whom permissions bind, which they do not bind root, and this process as that user."""
    with TemporaryDirectory() as folder:
        root = os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            for part in Path(folder).rglob('*'):
                part.chmod(0o700)


def test_what_permissions_forbid_is_one_line(mine):
    locked, closed = mine / 'locked', mine / 'images/closed'
    for folder in (locked, closed):
        folder.mkdir(parents=True)
    (mine / 'images/a.png').touch()
    (closed / 'b.png').touch()
    (mine / 'secret').write_text('a.png')
    for path, mode in ((locked, 0o500), (closed, 0o000), (mine / 'secret', 0o000)):
        path.chmod(mode)
    denied = os.strerror(errno.EACCES)
    for forbidden, message in (
            (lambda: check_output(locked / 'a.json', True), 'a.json cannot be written'),
            (lambda: check_output(locked / 'new/features', False, holds='x'), 'features cannot be written'),
            (lambda: check_folder(locked), 'locked cannot be written'),
            (lambda: atomic_write(locked / 'a.json').__enter__(), 'a.json cannot be written'),
            (lambda: find_images(mine / 'images'), 'closed/ cannot be read'),
            (lambda: read_lines(mine / 'secret'), 'secret cannot be read'),
            (lambda: read_json(mine / 'secret', ''), 'secret cannot be read'),
            (lambda: Clusters.load(mine / 'secret'), 'secret cannot be read'),
            (lambda: read_checkpoint(mine / 'secret'), 'secret cannot be read'),
            (lambda: read_rgb(mine / 'secret'), 'secret cannot be decoded')):
        with pytest.raises(InputError, match=f'{message} .{denied}') as error:
            forbidden()
        assert '\n' not in str(error.value)
    assert not list(locked.iterdir())


def test_a_folder_to_work_in_may_be_new_or_old_but_is_no_file(tmp_path):
    check_folder(tmp_path)
    check_folder(tmp_path / 'new' / 'folder')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').touch()
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'new'):
        with pytest.raises(InputError, match='file is no folder: give another place'):
            check_folder(folder)


@pytest.mark.parametrize('name', ['backbone', '.hidden', 'a.b.c', 'x' * 255, 'ß' * 127, 'a.' + 'x' * 253])
def test_any_name_that_a_file_may_have_will_do(tmp_path, name):
    check_output(tmp_path / name, False)
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text('content')
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize('content', [
    'a.png\nü/ж.png\n'.encode(),
    '\ufeffa.png\r\n\r\n  ü\\ж.png  \r\n'.encode(),
    'a.png\r\nü\\ж.png'.encode('utf-16'),
    'a.png\rü/ж.png\r'.encode('utf-16'),
    '\ufeffa.png\nü/ж.png'.encode('utf-16-be')], ids=['UTF-8', 'Windows', 'UTF-16', 'old Mac', 'big endian'])
def test_a_list_may_come_from_another_system(tmp_path, content):
    (tmp_path / 'list.txt').write_bytes(content)
    assert read_lines(tmp_path / 'list.txt') == ['a.png', 'ü/ж.png']


def test_names_in_a_list_need_not_be_utf_8(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'a\xff.png\nb\xc2\x85c\n')
    first, second = read_lines(tmp_path / 'list.txt')
    assert first.encode(errors='surrogateescape') == b'a\xff.png' and second == 'b\x85c'


@pytest.mark.parametrize('content', ['a.png\n'.encode('utf-16-le'), b'\xff\xfea', b'\x89PNG\r\n\x1a\n\x00\x00'])
def test_what_is_no_list_is_one_line(tmp_path, content):
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(InputError, match=f'^{tmp_path}/list.txt .*: give a text file with one name a line, in UTF-8$'):
        read_lines(tmp_path / 'list.txt')
    with pytest.raises(InputError, match='cannot be read'):
        read_lines(tmp_path)
