"""Text of files, and writing so that nothing is lost: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import codecs
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def decode(data: bytes, errors: str = 'strict') -> str:
    """UTF-8, or UTF-16 by its byte order mark; the mark itself is left out. ``errors`` are those of UTF-8.

    Raises:
        UnicodeDecodeError: If it is neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode('utf-16')
    return data.decode('utf-8-sig', errors)


def read_lines(file: str | Path) -> list[str]:
    """The lines of a list of files, without white space around them and without empty ones, with ``/`` for ``\\``.

    It may come from Windows, with its backslashes and byte order marks. Names need not be UTF-8.

    Raises:
        InputError: If it cannot be read, or is no text.
    """
    try:
        text = decode(Path(file).read_bytes(), 'surrogateescape')
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it begins as UTF-16 and is none'
        raise InputError(f'{file} cannot be read ({reason}): give a text file with one name a line, in '
                         'UTF-8') from error
    if '\0' in text:
        raise InputError(f'{file} is no text, or UTF-16 without its byte order mark: give a text file with one name a '
                         'line, in UTF-8')
    # Not splitlines, which ends a line at characters that names may have.
    lines = (line.strip().replace('\\', '/') for line in text.replace('\r', '\n').split('\n'))
    return [line for line in lines if line]


def write_lines(file: str | Path, names: Sequence[str], overwrite: bool = False) -> None:
    """Writes a list that :func:`read_lines` reads back as it is, whole or not at all.

    Raises:
        InputError: If a name has line breaks, backslashes or white space at its ends, or the file cannot be written.
    """
    with atomic_write(file, overwrite) as temporary:
        temporary.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8', errors='surrogateescape')
        if read_lines(temporary) != list(names):
            raise InputError(f'names for {file} have line breaks, backslashes or spaces at their end, which a list '
                             'cannot hold: rename these images')


def out_of_space(path: str | Path) -> InputError:
    """The error for a full disk."""
    return InputError(f'no space left on the disk of {path}: free some space or choose another place; '
                      'nothing was overwritten')


def not_writable(path: str | Path, error: OSError) -> InputError:
    """The error for a place where nothing can be written."""
    return InputError(f'{path} cannot be written ({error.strerror or error}): give another place')


@contextmanager
def atomic_write(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary file beside ``path`` to write to, and moves it there once it is whole.

    Args:
        path (str | Path): Where the file shall be. Missing folders are made.
        overwrite (bool): Whether a file that is there already may be replaced. Defaults to False.

    Yields:
        Path: The temporary file, with the suffix of ``path``.

    Raises:
        InputError: If ``path`` exists and may not be replaced, it cannot be written, or the disk is full.
    """
    path = Path(path)
    _check_replaceable(path, overwrite)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Cut, so that the name is not longer than names may be where that of the file is not.
        handle, name = tempfile.mkstemp(prefix=f'.{path.stem[:32]}-', suffix=path.suffix[:32], dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes files private; the result should have the permissions of any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise out_of_space(path) from error
        raise not_writable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def place_folder(folder: Path, out: Path) -> None:
    """Puts a whole folder, made by mkdtemp beside ``out``, in its place; what is there is replaced."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)  # mkdtemp makes it private
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}-old-', dir=out.parent) as old:
        if out.exists():
            os.replace(out, Path(old) / 'old')
        os.replace(folder, out)


def check_output(out: str | Path | None, overwrite: bool, *, holds: str | None = None) -> None:
    """Refuses before the work what could not be written after it.

    Args:
        out (str | Path, optional): The file or folder. None: nothing is written.
        overwrite (bool): Whether it may be replaced.
        holds (str, optional): A folder is written, which is known by this file in it, and no other folder
            is replaced unless it is empty. Defaults to None: a file is written.

    Raises:
        InputError: If it is there and may not be replaced, is something else, or cannot be written to.
    """
    if out is None:
        return
    out = Path(out)
    if holds is None:
        _check_replaceable(out, overwrite)
    elif out.exists() and not overwrite:
        raise InputError(f'{out} exists already: give another name, or pass --overwrite to replace it')
    if holds is not None and out.exists() and not (out / holds).is_file() and not (
            out.is_dir() and not any(out.iterdir())):
        raise InputError(f'{out} exists and does not hold {holds}, so it is not replaced: give another name')
    _try_to_write(out, out.absolute().parents)


def check_folder(folder: str | Path) -> None:
    """Refuses before the work a folder in which nothing could be written; it need not be there yet.

    Raises:
        InputError: If it is a file, or cannot be written to.
    """
    _try_to_write(Path(folder), (Path(folder).absolute(), *Path(folder).absolute().parents))


def _check_replaceable(file: Path, overwrite: bool) -> None:
    if not file.exists():
        return
    if not file.is_file():  # /dev/null would be replaced like any other name
        raise InputError(f'{file} exists already, it is a {"folder" if file.is_dir() else "device or pipe"}: give the '
                         'name of a file')
    if not overwrite:
        raise InputError(f'{file} exists already: give another name, or pass --overwrite to replace it')


def _try_to_write(out: Path, places: Iterable[Path]) -> None:
    """Raises an InputError if the first of ``places`` that is there is no folder that can be written to."""
    try:
        place = next(place for place in places if place.exists())
        if not place.is_dir():
            raise InputError(f'{out} cannot be written, {place} is no folder: give another place')
        # Tried, because permissions do not tell of all that a file system refuses.
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise not_writable(out, error) from error
