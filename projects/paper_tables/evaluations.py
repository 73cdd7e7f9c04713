"""Networks × tasks: the evaluations that a table needs, one JSON for each, computed where they are missing."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sdr_mm.cli import is_main_process
from sdr_mm.errors import InputError
from sdr_mm.evaluation.evaluate import Evaluation, Protocol, evaluate_network, task_fingerprint
from sdr_mm.evaluation.task import Task
from sdr_mm.evaluation.task_config import load_task
from sdr_mm.models.checkpoints import weights_fingerprint
from sdr_mm.models.zoo import load_network, weight_file

from . import paper
from .rows import Row
from .table import EVALUATIONS, check_out


class Column(NamedTuple):
    """A task, or why it cannot be read.

    Args:
        key (str): Name of its folder, or of its config without ``.py``.
        published (bool): Whether it is one of the paper's eleven tasks, by the name of its config.
        task (Task, optional): None if it cannot be read.
        error (str): Why not. Defaults to nothing.
    """

    key: str
    published: bool
    task: Task | None
    error: str = ''

    @property
    def title(self) -> str:
        """For the table: the paper's name of its eleven, otherwise the key."""
        return paper.TASKS[self.key] if self.published else self.key


Found = Mapping[tuple[str, str], Evaluation | str]
"""By the name of the row and the key of the column: the evaluation, or why there is none."""


def read_columns(tasks: Sequence[str | Path], *, splits: int = 1, seed: int = 0,
                 data_root: str | Path | None = None) -> list[Column]:
    """Reads tasks as :func:`load_task`; those that cannot be read become columns without scores.

    Raises:
        InputError: If one does not exist, or two have the same name.
    """
    columns: list[Column] = []
    for path in (Path(task).expanduser() for task in tasks):
        if not path.exists():
            load_task(path)  # says what is missing
        config = path.suffix == '.py' and not path.is_dir()
        key = path.stem if config else path.resolve().name
        # A folder of the same name may hold anything, so it is not compared with the paper.
        column = Column(key, config and key in paper.TASKS, None)
        if any({key.lower(), column.title.lower()} & {other.key.lower(), other.title.lower()} for other in columns):
            raise InputError(f'--tasks has {column.title!r} twice, the second is {path}: rename its folder or leave it '
                             'out')
        divided = config or (path / 'train').is_dir()
        try:
            column = column._replace(task=load_task(path, splits=1 if divided else splits, seed=seed,
                                                    data_root=data_root))
        except InputError as error:
            column = column._replace(error=str(error))
        columns.append(column)
    return columns


def check_weights(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Refuses rows whose weight file is not there, before any work.

    Raises:
        InputError: If one is missing for a task.
    """
    for row in rows:
        for column in columns if row.spec else ():
            file = weight_file(row.spec_on(column.key))
            if file is not None and not Path(file).is_file():
                what = row.name if row.spec == row.spec_on(column.key) else f'{row.name} on {column.title}'
                raise InputError(f'{what}: there is no file {file}: correct the path or leave the row out')


def evaluation_file(folder: str | Path, row: str, task: str, protocol: Protocol) -> Path:
    """Where an evaluation is kept. Whatever differs in a character or an option has a file of its own."""
    readable = re.sub(r'[^A-Za-z0-9]+', '-', f'{row} {task}').strip('-').lower()
    digest = hashlib.sha256(f'{row}\n{task}\n{protocol}'.encode()).hexdigest()[:8]
    return Path(folder) / EVALUATIONS / f'{readable}-{digest}.json'


def evaluate_missing(rows: Sequence[Row],
                     columns: Sequence[Column],
                     protocol: Protocol,
                     folder: str | Path,
                     *,
                     on_error: str = 'stop',
                     say: Callable[[str], None] = print,
                     **options: Any) -> tuple[dict[tuple[str, str], Evaluation | str], int] | None:
    """Computes the evaluations that ``folder`` does not hold yet.

    Each is written as soon as it is known, with the fingerprints of its network and its task, so an
    interruption loses those in progress and no others. One that fails is reported, and the others are computed
    all the same. Processes that share the folder, as those of ``torchrun``, each take the next one that is free;
    they must not have joined a process group, for then all of them would work on one.

    Args:
        rows (Sequence[Row]): The networks.
        columns (Sequence[Column]): The tasks.
        protocol (Protocol): How they are scored.
        folder (str | Path): A new folder, or one of former tables.
        on_error (str): As for :func:`evaluate_network`. Evaluations in which images were skipped are computed again
            under ``'stop'``. Defaults to 'stop'.
        say (Callable): Prints a line. Defaults to print.
        **options: Others of :func:`evaluate_network`.

    Returns:
        tuple | None: On the first rank :data:`Found` for all rows with a network and columns with a task, and how
        many evaluations were computed by it; None on the others.

    Raises:
        InputError: If ``folder`` holds something else, or cannot be written to.
    """
    check_out(folder)
    (Path(folder) / EVALUATIONS).mkdir(parents=True, exist_ok=True)
    load = lru_cache(maxsize=1)(load_network)
    prints = {column.key: task_fingerprint(column.task) for column in columns if column.task is not None}
    found: dict[tuple[str, str], Evaluation | str] = {}
    computed = 0

    def result(file: Path, row: Row, column: Column, task: Task, which: str) -> Evaluation | str:
        nonlocal computed
        try:
            network = load(row.spec_on(column.key))
            stored = _stored(file, weights_fingerprint(network.module), prints[column.key],
                             protocol.settings(network.settings), on_error)
            if isinstance(stored, Evaluation):
                return stored
            if stored:
                say(f'{which}: the stored evaluation {stored}, it is computed again')
            evaluation = evaluate_network(network, task, protocol, name=row.name, on_error=on_error, **options)
            assert evaluation is not None
        except (InputError, OSError, RuntimeError) as error:  # as when a GPU has too little memory
            message = ' '.join(str(error).split()) or type(error).__name__
            say(f'{which}: no result: {message}')
            return message
        evaluation.save(file, overwrite=True)
        say(f'{which}: {evaluation.mean:.2f} ({evaluation.seconds:.1f} s)')
        computed += 1
        return evaluation

    pairs = [(row, column, column.task) for row in rows if row.spec for column in columns if column.task is not None]
    try:
        # Those that other processes have taken are waited for in a second round, by the one that writes the table.
        for wait in (False, True) if is_main_process() else (False, ):
            for number, (row, column, task) in enumerate(pairs, 1):
                file = evaluation_file(folder, row.name, column.key, protocol)
                if (row.name, column.key) not in found:
                    with _claim(file, wait) as mine:
                        if mine:
                            which = f'[{number}/{len(pairs)}] {row.name} on {column.title}'
                            found[row.name, column.key] = result(file, row, column, task, which)
    except KeyboardInterrupt:
        say(f'interrupted: what was computed is in {folder}, the same command resumes from there')
        raise
    return (found, computed) if is_main_process() else None


@contextmanager
def _claim(file: Path, wait: bool) -> Iterator[bool]:
    """Whether this process alone works on the file. The system ends the claim of a process that dies."""
    with open(file.with_name(f'.{file.stem}.lock'), 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def _stored(file: Path, network: str, task: str, settings: dict[str, Any], on_error: str) -> Evaluation | str:
    """The evaluation in a file, or why it is of no use; nothing if there is no file."""
    if not file.exists():
        return ''
    try:
        found = Evaluation.load(file)
    except InputError:
        return 'cannot be read'
    changed = ['another network'] * (found.fingerprints.get('network') != network)
    changed += ['other images, labels or splits'] * (found.fingerprints.get('task') != task)
    changed += ['other settings'] * (found.settings != settings)
    if changed:
        return f'was computed with {" and ".join(changed)}'
    return f'left out {found.skipped} images' if found.skipped and on_error != 'skip' else found
