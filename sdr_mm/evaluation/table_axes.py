"""Rows and columns of a table: which networks, and which tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..models.baselines import BASELINES
from ..models.zoo import weight_file
from . import paper
from .task import Task
from .task_config import load_task

PLACE = '{task}'
"""Stands in the spec of a row for the name of the task, where each task has a network of its own."""


@dataclass(frozen=True)
class Row:
    """A network, or one for each task.

    Args:
        name (str): For the table. Names of :data:`paper.TABLE1` get the paper's numbers beside them.
        spec (str, optional): As for :func:`load_network`; ``{task}`` in it stands for the name of the
            task, as the routed sub-net is another one on each. Defaults to None: only the paper's numbers.
        note (str): What to know about it, for below the table. Defaults to nothing.
    """

    name: str
    spec: str | None = None
    note: str = ''

    def spec_on(self, task: str) -> str | None:
        """The spec of the network for a task."""
        return None if self.spec is None else self.spec.replace(PLACE, task)


@dataclass(frozen=True, eq=False)
class Column:
    """A task.

    Args:
        key (str): Its short name: that of its folder, or of its config without ``.py``.
        title (str): For the table: the paper's name of its eleven, otherwise ``key``.
        published (bool): Whether it is one of the paper's eleven tasks, by the name of its config.
        task (Task, optional): The task; None if it cannot be read.
        error (str): Why not. Defaults to nothing.
    """

    key: str
    title: str
    published: bool
    task: Task | None
    error: str = ''


def given_rows(texts: Sequence[str]) -> list[Row]:
    """Rows from ``NAME=SPEC``, as the command line has them.

    Raises:
        InputError: If there is none, one is written otherwise, or a name is there twice.
    """
    rows = []
    for text in texts:
        name, separator, spec = (part.strip() for part in text.partition('='))
        if not (name and separator and spec):
            raise InputError(f"--networks takes NAME=NETWORK, for example 'SimSiam=simsiam.pth', got {text!r}")
        rows.append(Row(name, spec))
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise InputError(f'--networks has the name {twice[0]!r} twice: give each network a name of its own')
    return rows


def paper_rows(folder: str | Path, given: Sequence[Row] = ()) -> list[Row]:
    """All rows of the paper's table in its order, then those of ``given`` that it has not.

    Args:
        folder (str | Path): Where the publishers' weight files are, under the names that
            :data:`BASELINES` has. A row whose file is not there shows the paper's numbers only.
        given (Sequence[Row]): Networks for other rows, or in place of a publisher's file. Defaults to none.

    Raises:
        InputError: If there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder}: give --weights the folder with the weight files')
    own = {row.name: row for row in given}
    rows = [own[name] if name in own else _published(name, folder) for name in paper.TABLE1]
    return [*rows, *(row for row in given if row.name not in paper.TABLE1)]


def check_files(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Refuses rows whose weight file is not there, before any work.

    Raises:
        InputError: If one is missing for a task.
    """
    for row in rows:
        for column in columns:
            spec = row.spec_on(column.key)
            file = None if spec is None else weight_file(spec)
            if file is not None and not Path(file).is_file():
                what = f'{row.name} on {column.title}' if row.spec and PLACE in row.spec else row.name
                raise InputError(f'{what}: there is no file {file}: correct the path or leave the row out')


def read_columns(places: Sequence[str | Path],
                 *,
                 splits: int = 1,
                 seed: int = 0,
                 data_root: str | Path | None = None) -> list[Column]:
    """Reads the tasks; those that cannot be read become columns without scores.

    Args:
        places (Sequence[str | Path]): Folders and configs, as for :func:`load_task`.
        splits (int): Random splits of folders that have none of their own. Defaults to 1.
        seed (int): Seed of the random splits. Defaults to 0.
        data_root (str | Path, optional): Folder in place of ``data`` in configs. Defaults to None.

    Raises:
        InputError: If there is none, one does not exist, or two have the same name.
    """
    if not places:
        raise InputError('a table needs at least one task: give a folder of labeled images or a config')
    columns: list[Column] = []
    for place in (Path(place).expanduser() for place in places):
        if not place.exists():
            load_task(place)  # says what is missing
        config = place.suffix == '.py' and not place.is_dir()
        key = place.stem if config else place.resolve().name
        # A folder of the same name may hold anything, so it is not compared with the paper.
        published = config and key in paper.TASKS
        title = paper.TASKS[key] if published else key
        for other in columns:
            if key.lower() == other.key.lower() or title.lower() == other.title.lower():
                raise InputError(f'--tasks has {title!r} twice, the second is {place}: rename its folder or leave it '
                                 f'out')
        divided = config or (place / 'train').is_dir()
        try:
            task = load_task(place, splits=1 if divided else splits, seed=seed, data_root=data_root)
            columns.append(Column(key, title, published, task))
        except InputError as error:
            columns.append(Column(key, title, published, None, str(error)))
    return columns


def _published(name: str, folder: Path) -> Row:
    """The row of that name with the publisher's file; of several such files the first that is there."""
    known = [row for row in BASELINES if name in (row.row, f'{row.row} ({row.row_epochs} epochs)')]
    for row in known:
        if (folder / row.file).is_file():
            epochs = '' if row.epochs == row.row_epochs else f'a file of {row.epochs} epochs'
            return Row(name, f'baseline:{row.name}@{folder / row.file}', '; '.join(filter(None, (epochs, row.note))))
    if not known:
        return Row(name, note=f"not evaluated: give it by --networks '{name}=FILE'")
    return Row(name, note=f'not evaluated: --weights has no {known[0].file} (from {known[0].page})')
