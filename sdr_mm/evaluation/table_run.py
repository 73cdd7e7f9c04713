"""Fills a table, network by network and task by task, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..errors import InputError
from ..files import atomic_write
from ..models.zoo import load_network
from .cells import Cell, CellFile, Protocol, network_fingerprint, task_fingerprint
from .features import task_features
from .table_axes import Column, Row
from .task import Task

FORMAT = 'sdr_mm table 1'
SETTINGS = 'settings.json'

# Another rank may be busy with its last cell for hours.
_PATIENCE = timedelta(days=100)


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        row (str): Name of the network.
        task (str): Title of the task.
        state (str): ``'computed'``, ``'stored'``, if it was there already, or ``'failed'``.
        cell (Cell, optional): None if it failed.
        message (str): Why it failed. Defaults to nothing.
    """

    row: str
    task: str
    state: str
    cell: Cell | None
    message: str = ''


def fill_table(rows: Sequence[Row],
               columns: Sequence[Column],
               protocol: Protocol,
               folder: str | Path,
               *,
               on_error: str = 'stop',
               batch_size: int = 200,
               workers: int = 2,
               device: str | torch.device = 'cpu',
               say: Callable[[str], None] = print) -> list[Outcome] | None:
    """Computes the cells that ``folder`` does not hold yet. All ranks must call.

    Each cell is written as soon as it is known, with the fingerprints of its network and its task, so an
    interruption loses the cells in work and no others. A cell that fails is reported, and the others go
    on. Under ``torchrun`` each free process takes the next cell. They must see the same ``folder``, and
    must not have joined a process group, for then all of them would work on one cell.

    Args:
        rows (Sequence[Row]): The networks.
        columns (Sequence[Column]): The tasks.
        protocol (Protocol): How they are scored.
        folder (str | Path): A new folder, or one that was filled by the same protocol.
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, with that cell, or
            ``'skip'``. Cells in which images were skipped are computed anew under ``'stop'``. Defaults to
            'stop'.
        batch_size (int): Most images in a batch. Defaults to 200.
        workers (int): Threads that decode, on each rank. Defaults to 2.
        device (str | torch.device): Where the networks run. Defaults to 'cpu'.
        say (Callable): Prints a line. Defaults to print.

    Returns:
        list[Outcome] | None: On the first rank, each cell of a row with a network and a task that could be
        read, row by row; None on the others.

    Raises:
        InputError: If ``folder`` holds something else, or cannot be written to.
    """
    assert not dist.is_initialized(), 'fill_table deals out cells by itself: call it before init_process_group'
    rank, world = int(os.environ.get('RANK', '0')), int(os.environ.get('WORLD_SIZE', '1'))
    store: Any = dist.HashStore() if world == 1 else next(iter(dist.rendezvous('env://')))[0]
    _open(Path(folder), protocol, store, rank)
    cells = [(row, column, column.task) for row in rows if row.spec is not None for column in columns
             if column.task is not None]
    prints = _Fingerprints()
    mine: dict[int, Outcome] = {}

    def outcome(row: Row, column: Column, task: Task, place: str) -> Outcome:
        spec = row.spec_on(column.key)
        assert spec is not None
        name = f'{row.name} on {column.title}'
        file = CellFile(Path(folder) / 'cells', row.name, column.key)
        try:
            identity = dict(network=prints.network(spec), task=prints.task(column), **protocol.settings)
            cell, why = file.load(identity)
            if cell is not None:
                if not cell.skipped or on_error == 'skip':
                    return Outcome(row.name, column.title, 'stored', cell)
                why = f'left out {cell.skipped} images'
            if why:
                say(f'{place} {name}: the stored cell {why}, it is computed anew')
            cell = _compute(spec, task, protocol, on_error=on_error, batch_size=batch_size, workers=workers,
                            device=device)
        except (InputError, OSError, RuntimeError) as error:  # as when a GPU has too little memory
            message = ' '.join(str(error).split()) or type(error).__name__
            say(f'{place} {name}: no result: {message}')
            return Outcome(row.name, column.title, 'failed', None, message)
        file.save(identity, cell)
        say(f'{place} {name}: {cell.mean:.2f} ({cell.seconds:.1f} s)')
        return Outcome(row.name, column.title, 'computed', cell)

    try:
        for number, (row, column, task) in enumerate(cells):
            if store.add(f'cell {number}', 1) == 1:  # no other process has taken it
                mine[number] = outcome(row, column, task, f'[{number + 1}/{len(cells)}]')
        report: Any = {number: asdict(found) for number, found in mine.items()}
    except BaseException as error:
        store.set(f'rank {rank}', json.dumps(f'{type(error).__name__}: {error}'))
        if isinstance(error, KeyboardInterrupt):
            say(f'interrupted: what was computed is in {folder}, the same command goes on from there')
        raise
    store.set(f'rank {rank}', json.dumps(report))
    return _gather(store, world, len(cells), folder) if rank == 0 else None


def _open(folder: Path, protocol: Protocol, store: Any, rank: int) -> None:
    """Checks the folder on the first rank, before any of them writes there."""
    message = ''
    if rank == 0:
        try:
            _check(folder, protocol)
        except InputError as error:
            message = str(error)
        store.set('folder', message)
    message = store.get('folder').decode()
    if message:
        raise InputError(message)


def _check(folder: Path, protocol: Protocol) -> None:
    settings = protocol.settings
    file = folder / SETTINGS
    if file.is_file():
        try:
            content = json.loads(file.read_text(encoding='utf-8'))
            before = dict(content['settings']) if content['format'] == FORMAT else None
        except (ValueError, KeyError, TypeError):
            before = None
        if before is None:
            raise InputError(f'{file} is not that of a table: give --out another folder')
        if before != settings:
            keys = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
            old, new = (', '.join(f'{key} {values[key]}' for key in keys if key in values)
                        for values in (before, settings))
            raise InputError(f'{folder} holds a table of {old}, this one is of {new}: give --out another folder')
        return
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f'{folder} has files in it that are no table: give --out another folder')
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(dict(format=FORMAT, settings=settings), indent=1) + '\n', encoding='utf-8')
    except (NotADirectoryError, FileExistsError) as error:
        raise InputError(f'{folder} is no folder: give --out another place') from error
    except PermissionError as error:
        raise InputError(f'{folder} cannot be written to: give --out another place') from error


def _gather(store: Any, world: int, count: int, folder: str | Path) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    for rank in range(world):
        store.wait([f'rank {rank}'], _PATIENCE)
        report = json.loads(store.get(f'rank {rank}'))
        if isinstance(report, str):
            raise InputError(f'process {rank} stopped ({report}): what was computed is in {folder}, the same command '
                             f'goes on from there')
        for number, values in report.items():
            cell = values.pop('cell')
            found[int(number)] = Outcome(**values, cell=None if cell is None else Cell(**cell))
    return [found[number] for number in range(count)]


def _compute(spec: str, task: Task, protocol: Protocol, **options: Any) -> Cell:
    start = time.perf_counter()
    network = load_network(spec)
    features, rest = task_features(network.module, task, mean=network.mean, std=network.std,
                                   resize=protocol.short_side, size=protocol.size, **options)
    found = protocol.score(features, rest)
    train, test = rest.splits[0].scoring()
    return Cell(found['scores'], len(train), len(test), found['l2'], len(task.paths) - len(rest.paths),
                round(time.perf_counter() - start, 2))


class _Fingerprints:
    """Fingerprints that are worked out once in a run: weight files and tasks are large."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def network(self, spec: str) -> str:
        if spec not in self._known:
            self._known[spec] = network_fingerprint(spec)
        return self._known[spec]

    def task(self, column: Column) -> str:
        key = f'\n{column.key}'  # which is no spec
        if key not in self._known:
            assert column.task is not None
            self._known[key] = task_fingerprint(column.task)
        return self._known[key]
