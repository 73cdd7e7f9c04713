"""The wheel and the sdist: built, compared with the repository, installed into empty environments and used there.

    python .ci/dist.py

Needs uv beside this Python, git and the network.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).parent / 'uv')
TWINE, OPENMIM = 'twine==7.0.0', 'openmim==0.3.9'
# `mim` imports pkg_resources, which is in no later setuptools.
SETUPTOOLS = 'setuptools<82'


def call(*command: object, cwd: Path = ROOT) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f'error: {" ".join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}')
    return done.stdout


def build(source: Path, folder: Path, *what: str) -> None:
    call(UV, 'build', '--quiet', *what, '--out-dir', folder, source)


def files_of(wheel: Path) -> dict[str, bytes]:
    """The content of each file of a wheel, without the list of checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith('/RECORD')}


def check_contents(wheel: Path, sdist: Path) -> None:
    """The wheel has the tracked files of the package, and the configs and tools where ``mim`` looks; nothing else."""
    found = files_of(wheel)
    tracked = call('git', 'ls-files', '-z').rstrip('\0').split('\0')
    wanted = {name for name in tracked if name.startswith('sdr_mm/') and not name.startswith('sdr_mm/.mim/')}
    wanted |= {f'sdr_mm/.mim/{name}' for name in tracked if name == 'model-index.yml' or name.startswith('tools/')
               or name.startswith('configs/') and name.endswith(('.py', '.yml'))}
    inside = {name for name in found if '.dist-info/' not in name}
    assert inside == wanted, f'missing: {sorted(wanted - inside)}; too many: {sorted(inside - wanted)}'
    for name in wanted:
        assert found[name] == (ROOT / name).read_bytes(), f'{name} has another content'
    assert any(name.endswith('.dist-info/licenses/LICENSE') for name in found), 'the wheel has no LICENSE'
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert wanted | {'pyproject.toml', 'README.md', 'LICENSE'} <= names, f'the sdist lacks {sorted(wanted - names)}'
    odd = sorted(name for name in names if name.startswith(('tests', 'docs', 'benchmarks')) or '__pycache__' in name)
    assert not odd, f'the sdist has {odd}'


def environment(folder: Path, wheel: Path, *more: str) -> Path:
    """A new environment with the wheel, its dependencies and nothing else; its Python."""
    call(UV, 'venv', '--quiet', '--python', sys.executable, folder)
    python = folder / 'bin/python'
    call(UV, 'pip', 'install', '--quiet', '--python', python, '--constraint', ROOT / 'requirements/light.txt',
         f'sdr-mm[upstream] @ {wheel.as_uri()}')
    if more:  # They want older versions of what is pinned.
        call(UV, 'pip', 'install', '--quiet', '--python', python, *more)
    return python


def check_mim(python: Path, wheel: Path, folder: Path) -> None:
    """Runs `mim` as a user of OpenMMLab does: install, list, search, train, test, run."""
    def mim(*arguments: object, status: int = 0) -> str:
        done = subprocess.run([str(python.parent / 'mim'), *map(str, arguments)], cwd=folder, text=True,
                              capture_output=True)
        assert done.returncode == status, f'mim {arguments} ended with {done.returncode}: {done.stderr[-2000:]}'
        return done.stdout + done.stderr

    mim('install', '--no-deps', '--force-reinstall', wheel)
    assert 'sdr-mm' in mim('list', '--all')
    assert 'configs/sdr_simsiam.py' in mim('search', 'sdr_mm', '--config', 'sdr_simsiam')
    mim('train', 'sdr_mm', 'simsiam_resnet18_b64-15e_32px.py', '--gpus', 0, '--data', 'task', '--epochs', 1,
        '--work-dir', 'mim', '--cfg-options', 'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0')
    assert (folder / 'mim/epoch_1.pth').is_file()
    refused = mim('test', 'sdr_mm', 'simsiam_resnet18_b64-15e_32px.py', '--checkpoint', 'mim/epoch_1.pth', '--gpus', 0,
                  status=1)
    assert 'tests nothing: it needs a test_dataloader' in refused, refused
    printed = mim('run', 'sdr_mm', 'knn_eval', 'backbone.pth', '--task', 'task', '--device', 'cpu')
    assert 'k = 20 (clamped to 16): ' in printed, printed


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix='sdr_mm-dist-'))
    os.environ['OMP_NUM_THREADS'] = '1'  # several would wait for one another where cores are few
    try:
        build(ROOT, folder)
        (wheel, ), (sdist, ) = folder.glob('*.whl'), folder.glob('*.tar.gz')
        check_contents(wheel, sdist)
        print(f'{wheel.name} and {sdist.name} have what the repository has')
        with tarfile.open(fileobj=io.BytesIO(sdist.read_bytes())) as archive:
            archive.extractall(folder / 'source', filter='data')
        build(next((folder / 'source').iterdir()), folder / 'again', '--wheel')
        assert files_of(wheel) == files_of(folder / 'again' / wheel.name), 'the sdist builds another wheel'
        print('the sdist builds the same wheel')
        print(call(UV, 'tool', 'run', '--quiet', '--from', TWINE, 'twine', 'check', '--strict', wheel, sdist).strip())
        python = environment(folder / 'empty', wheel)
        print(call(python, '-W', 'ignore', ROOT / '.ci/installed.py', folder, cwd=folder).strip())
        check_mim(environment(folder / 'mim-env', wheel, OPENMIM, SETUPTOOLS), wheel, folder)
        print('mim installs it, finds its configs, trains one and runs a tool')
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
