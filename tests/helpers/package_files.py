"""Small package files for tests, made by hand."""

from __future__ import annotations

import hashlib
import io
import tarfile


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_tar(files: dict[str, bytes], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f'w:{compression}') as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_tgz(files: dict[str, bytes]) -> bytes:
    return make_tar(files, 'gz')


def make_ar(members: dict[str, bytes]) -> bytes:
    """An ``ar`` archive: a line of 60 bytes before each member, which is filled up to an even length."""
    parts = [b'!<arch>\n']
    for name, data in members.items():
        parts += [f'{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n'.encode(), data, b'\n' * (len(data) % 2)]
    return b''.join(parts)


def make_deb(files: dict[str, bytes]) -> bytes:
    data = make_tar({f'./{name}': content for name, content in files.items()}, 'xz')
    return make_ar({'debian-binary': b'2.0\n', 'control.tar.xz': b'odd', 'data.tar.xz': data, '_after': b'more'})
