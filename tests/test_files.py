"""Atomic writing, and errors as one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_output


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
        raise OSError(2, 'No such file')

    with pytest.raises(OSError):
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
