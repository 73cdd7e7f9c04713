"""The checkpoints that come with the package, which are asked for by their names."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError

FOLDER = Path(__file__).parents[1] / 'pretrained'
SUFFIX = '.pth'


def shipped_names() -> list[str]:
    """Names of the checkpoints that ship, for :func:`find_checkpoint`."""
    return sorted(file.stem for file in FOLDER.glob(f'*{SUFFIX}'))


def find_checkpoint(file: str | Path) -> Path:
    """The file that is meant: ``file``, or the shipped checkpoint of this name if there is no such file.

    Args:
        file (str | Path): A file, or a name without folder and suffix, such as ``'pool-r18'``.

    Raises:
        InputError: If it is neither. What looks like a name is told which there are.
    """
    text = str(file)
    if Path(file).is_file():
        return Path(file)
    if not text or any(mark in text for mark in './\\:'):
        raise InputError(f'there is no file {file}: give a checkpoint')
    names = shipped_names()
    if text not in names:
        raise InputError(f'there is no file {file}, and no checkpoint of this name ships with sdr_mm: give a file, or '
                         f'one of {", ".join(names)}')
    return FOLDER / f'{text}{SUFFIX}'
