"""Writing files so that nothing is lost: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def out_of_space(path: str | Path) -> InputError:
    """The error for a full disk."""
    return InputError(f'no space left on the disk of {path}: free some space or choose another place; '
                      'nothing was overwritten')


@contextmanager
def atomic_write(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary file beside ``path`` to write to, and moves it there once it is whole.

    Args:
        path (str | Path): Where the file shall be. Missing folders are made.
        overwrite (bool): Whether a file that is there already may be replaced. Defaults to False.

    Yields:
        Path: The temporary file, with the suffix of ``path``.

    Raises:
        InputError: If ``path`` exists and may not be replaced, or the disk is full.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f'{path} exists already: give another name, or pass --overwrite to replace it')
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'.{path.stem}-', suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes files private; the result should have the permissions of any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise out_of_space(path) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
    if holds is None and out.is_dir():
        raise InputError(f'{out} exists already, it is a folder: give the name of a file')
    if out.exists() and not overwrite:
        raise InputError(f'{out} exists already: give another name, or pass --overwrite to replace it')
    if holds is not None and out.exists() and not (out / holds).is_file() and not (
            out.is_dir() and not any(out.iterdir())):
        raise InputError(f'{out} exists and does not hold {holds}, so it is not replaced: give another name')
    parent = next((folder for folder in out.absolute().parents if folder.exists()), out)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f'{out} cannot be written, {parent} is {"not writable" if parent.is_dir() else "no folder"}: '
                         'give another place')
