"""The networks of a table: those of the command line, and those of the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdr_mm.errors import InputError
from sdr_mm.models.baselines import BASELINES

from . import paper


class Row(NamedTuple):
    """A network, or one for each task.

    Args:
        name (str): For the table. Names of the paper's table get its numbers beside them.
        spec (str, optional): As for :func:`load_network`; ``{task}`` in it stands for the key of the task, as the
            routed sub-net is another one on each. Defaults to None: only the paper's numbers.
        note (str): What to know about it, for below the table. Defaults to nothing.
    """

    name: str
    spec: str | None = None
    note: str = ''

    def spec_on(self, task: str) -> str:
        """The spec of the network for a task."""
        return (self.spec or '').replace('{task}', task)


def named(texts: Sequence[str], example: str = 'SimSiam=simsiam.pth', what: str = 'NETWORK') -> list[tuple[str, str]]:
    """What ``--networks`` has, split at the first ``=``.

    Raises:
        InputError: If one is written otherwise.
    """
    pairs = []
    for text in texts:
        name, separator, value = (part.strip() for part in text.partition('='))
        if not (name and separator and value):
            raise InputError(f"--networks takes NAME={what}, for example '{example}', got {text!r}")
        pairs.append((name, value))
    return pairs


def given_rows(texts: Sequence[str]) -> list[Row]:
    """Rows from ``NAME=SPEC``, as the command line has them.

    Raises:
        InputError: If one is written otherwise, or a name is there twice.
    """
    rows = [Row(*pair) for pair in named(texts)]
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise InputError(f'--networks has the name {twice[0]!r} twice: give each network a name of its own')
    return rows


def all_rows(published: paper.PaperTable, given: Sequence[Row]) -> list[Row]:
    """All rows of a table of the paper; where ``given`` has none of the name, with the paper's numbers only."""
    own = {row.name: row for row in given}
    return [own.get(name) or Row(name) for name in published.names(own)]


def baseline_rows(folder: str | Path, given: Sequence[Row] = ()) -> list[Row]:
    """All rows of the paper's Table 1, as :func:`all_rows`, with the publishers' weights.

    A row is that of ``given``, or the publisher's weight file in ``folder``, under the name that :data:`BASELINES`
    has; where there is neither it shows the paper's numbers only.

    Raises:
        InputError: If there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder}: give --weights the folder with the weight files')
    own = {row.name: row for row in given}
    return [own.get(name) or _published(name, folder) for name in paper.TABLE1.names(own)]


def _published(name: str, folder: Path) -> Row:
    """The row of that name with the publisher's file; of several such files the first that is there."""
    known = [row for row in BASELINES if name in (row.row, f'{row.row} ({row.row_epochs} epochs)')]
    for row in known:
        if (folder / row.file).is_file():
            epochs = '' if row.epochs == row.row_epochs else f'a file of {row.epochs} epochs'
            return Row(name, f'baseline:{row.name}@{folder / row.file}', '; '.join(filter(None, (epochs, row.note))))
    lacking = f'--weights has no {known[0].file} (from {known[0].page})' if known else (
        f"give it by --networks '{name}=FILE'")
    return Row(name, note=f'not evaluated: {lacking}')
