"""The paper's Table 1 with numbers of our own: networks × tasks, one JSON for each evaluation."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..cli import is_main_process
from ..errors import InputError
from ..files import atomic_write
from ..models.baselines import BASELINES
from ..models.checkpoints import weights_fingerprint
from ..models.zoo import load_network, weight_file
from ..text_table import markdown_table
from . import paper
from .evaluate import Evaluation, Protocol, evaluate_network, task_fingerprint
from .task import Task
from .task_config import load_task

FORMAT = 'sdr_mm table 2'
EVALUATIONS = 'evaluations'
_CHANGED = dict(network='another network', task='other images, labels or splits', settings='other settings')
_METRICS = dict(accuracy='accuracy', mean_per_class='mean accuracy of the classes', map_11='11-point mAP')


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

    def spec_on(self, task: str) -> str:
        """The spec of the network for a task."""
        return (self.spec or '').replace('{task}', task)


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


class Outcome(NamedTuple):
    """What became of an evaluation: ``'computed'``, ``'stored'``, if it was there already, or ``'failed'``."""

    state: str
    evaluation: Evaluation | None
    message: str = ''


Outcomes = Mapping[tuple[str, str], Outcome]
"""By the name of the row and the key of the column."""


def given_rows(texts: Sequence[str]) -> list[Row]:
    """Rows from ``NAME=SPEC``, as the command line has them.

    Raises:
        InputError: If one is written otherwise, or a name is there twice.
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


def read_columns(tasks: Sequence[str | Path],
                 *,
                 splits: int = 1,
                 seed: int = 0,
                 data_root: str | Path | None = None) -> list[Column]:
    """Reads the tasks; those that cannot be read become columns without scores.

    Args:
        tasks (Sequence[str | Path]): Folders and configs, as for :func:`load_task`.
        splits (int): Random splits of folders that have none of their own. Defaults to 1.
        seed (int): Seed of the random splits. Defaults to 0.
        data_root (str | Path, optional): Folder in place of ``data`` in configs. Defaults to None.

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
        published = config and key in paper.TASKS
        title = paper.TASKS[key] if published else key
        if any(key.lower() == other.key.lower() or title.lower() == other.title.lower() for other in columns):
            raise InputError(f'--tasks has {title!r} twice, the second is {path}: rename its folder or leave it out')
        divided = config or (path / 'train').is_dir()
        try:
            task = load_task(path, splits=1 if divided else splits, seed=seed, data_root=data_root)
            columns.append(Column(key, title, published, task))
        except InputError as error:
            columns.append(Column(key, title, published, None, str(error)))
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
                     batch_size: int = 200,
                     workers: int = 2,
                     device: str | torch.device = 'cpu',
                     say: Callable[[str], None] = print) -> dict[tuple[str, str], Outcome] | None:
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
        on_error (str): What to do about an image that cannot be decoded: ``'stop'``, with that evaluation, or
            ``'skip'``. Those in which images were skipped are computed again under ``'stop'``. Defaults to 'stop'.
        batch_size (int): Most images in a batch. Defaults to 200.
        workers (int): Threads that decode, in each process. Defaults to 2.
        device (str | torch.device): Where the networks run. Defaults to 'cpu'.
        say (Callable): Prints a line. Defaults to print.

    Returns:
        dict | None: On the first rank :data:`Outcomes` of all rows with a network and columns with a task;
        None on the others.

    Raises:
        InputError: If ``folder`` holds something else, or cannot be written to.
    """
    _check_folder(Path(folder))
    load = lru_cache(maxsize=1)(load_network)
    prints = {column.key: task_fingerprint(column.task) for column in columns if column.task is not None}
    pairs = [(row, column) for row in rows if row.spec for column in columns if column.task is not None]
    outcomes: dict[tuple[str, str], Outcome] = {}

    def outcome(row: Row, column: Column, which: str) -> Outcome:
        file = evaluation_file(folder, row.name, column.key, protocol)
        try:
            network = load(row.spec_on(column.key))
            identity = dict(network=weights_fingerprint(network.module), task=prints[column.key],
                            settings=protocol.settings(network.settings))
            stored, why = _stored(file, identity, on_error)
            if stored is not None:
                return Outcome('stored', stored)
            if why:
                say(f'{which}: the stored evaluation {why}, it is computed again')
            assert column.task is not None
            found = evaluate_network(network, column.task, protocol, name=row.name, on_error=on_error,
                                     batch_size=batch_size, workers=workers, device=device)
            assert found is not None
        except (InputError, OSError, RuntimeError) as error:  # as when a GPU has too little memory
            message = ' '.join(str(error).split()) or type(error).__name__
            say(f'{which}: no result: {message}')
            return Outcome('failed', None, message)
        found.save(file, overwrite=True)
        say(f'{which}: {found.mean:.2f} ({found.seconds:.1f} s)')
        return Outcome('computed', found)

    try:
        # Those that other processes have taken are waited for in a second round, by the one that writes the table.
        for wait in (False, True) if is_main_process() else (False, ):
            for number, (row, column) in enumerate(pairs):
                if (row.name, column.key) not in outcomes:
                    with _claim(evaluation_file(folder, row.name, column.key, protocol), wait) as mine:
                        if mine:
                            outcomes[row.name, column.key] = outcome(
                                row, column, f'[{number + 1}/{len(pairs)}] {row.name} on {column.title}')
    except KeyboardInterrupt:
        say(f'interrupted: what was computed is in {folder}, the same command resumes from there')
        raise
    return outcomes if is_main_process() else None


def _check_folder(folder: Path) -> None:
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / EVALUATIONS).is_dir():
            raise InputError(f'{folder} has files in it that are no table: give --out another folder')
        (folder / EVALUATIONS).mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        raise InputError(f'{folder} is no folder: give --out another name') from error
    except PermissionError as error:
        raise InputError(f'{folder} cannot be written to: give --out another name') from error


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


def _stored(file: Path, identity: dict[str, Any], on_error: str) -> tuple[Evaluation | None, str]:
    """The evaluation in a file if it is that of ``identity``; or why it is not, nothing if there is no file."""
    if not file.exists():
        return None, ''
    try:
        found = Evaluation.load(file)
    except InputError:
        return None, 'cannot be read'
    before = dict(found.fingerprints, settings=found.settings)
    changed = [what for key, what in _CHANGED.items() if before.get(key) != identity[key]]
    if changed:
        return None, f'was computed with {" and ".join(changed)}'
    if found.skipped and on_error != 'skip':
        return None, f'left out {found.skipped} images'
    return found, ''


def tabulate(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, outcomes: Outcomes) -> dict[str, Any]:
    """Puts our numbers beside the paper's.

    The paper's numbers are for its eleven tasks, read by configs of their names, under the linear
    protocol. Under kNN the paper has two averages, over all of the eleven with ``k`` = 200.

    Args:
        rows (Sequence[Row]): The networks.
        columns (Sequence[Column]): The tasks.
        protocol (Protocol): How they were scored.
        outcomes (Outcomes): What :func:`evaluate_missing` returned.

    Returns:
        dict: The content of ``table.json``: what all evaluations have in common, the tasks, for each network
        an entry a task and their average, and notes. An entry has the numbers ``ours``, its ``deviation`` over
        the splits, ``paper`` and their ``difference``, each None where there is none.
    """
    known = {key: outcome.evaluation for key, outcome in outcomes.items() if outcome.evaluation is not None}
    settings = [found.settings for found in known.values()]
    shared: dict[str, Any] = dict(protocol=protocol.name)
    shared |= {key: settings[0][key] for key in ('resize', 'size', 'k', 'temperature')
               if settings and all(key in one and one[key] == settings[0][key] for one in settings)}
    keys = [column.key if column.published else '' for column in columns]
    lines = []
    for row in rows:
        reference = paper.TABLE1.get(row.name) if protocol.name == 'linear' else None
        entries = {}
        for column in columns:
            found = known.get((row.name, column.key))
            published = reference.score(column.key) if reference and column.published else None
            entries[column.key] = dict(
                _entry(None, published) if found is None else _entry(found.mean, published, found.deviation),
                l2=[] if found is None else [split['l2'] for split in found.splits])
        ours = [entry['ours'] for entry in entries.values() if entry['ours'] is not None]
        average = reference.mean(keys) if reference else None
        if protocol.name == 'knn' and set(keys) == set(paper.TASKS) and shared.get('k', [])[:1] == [200]:
            average = paper.KNN_AVERAGES.get(row.name)
        entry = _entry(float(np.mean(ours)) if len(ours) == len(columns) else None, average)
        compared = any(entry['paper'] is not None for entry in (*entries.values(), entry))
        lines.append(dict(network=row.name, spec=row.spec, tasks=entries,
                          epochs=paper.TABLE1[row.name].epochs if compared else None,
                          average=dict(entry, tasks=len(ours), of=len(columns))))
    tasks = [dict(name=column.key, title=column.title, error=column.error or None,
                  metric=column.task and column.task.metric, classes=column.task and len(column.task.classes),
                  images=column.task and len(column.task.paths)) for column in columns]
    return dict(format=FORMAT, settings=shared, tasks=tasks, rows=lines,
                notes=_notes(rows, columns, protocol, outcomes, lines))


def _entry(ours: float | None, published: float | None, deviation: float | None = None) -> dict[str, Any]:
    difference = None if ours is None or published is None else ours - published
    return dict(ours=ours, deviation=deviation, paper=published, difference=difference)


def _notes(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, outcomes: Outcomes,
           lines: Sequence[dict[str, Any]]) -> list[str]:
    notes = [f'{row.name}: {row.note}.' for row in rows if row.note]
    if any(line['epochs'] is not None for line in lines):
        strange = [row.name for row in rows if row.name not in paper.TABLE1]
        if strange:
            notes.append(f"The paper's table has no row {', '.join(strange)}.")
        if any(line['average']['paper'] is not None for line in lines) and len(columns) < len(paper.TASKS):
            notes.append("The paper's averages are those of its numbers on the tasks that are shown.")
        if protocol.name == 'knn':
            notes.append("The paper's averages by kNN are those of its table 4.")
    for column in columns:
        found = [outcome.evaluation for (_, key), outcome in outcomes.items()
                 if key == column.key and outcome.evaluation is not None]
        skipped = max((one.skipped for one in found), default=0)
        if skipped:
            notes.append(f'{column.title}: {skipped} images could not be decoded and were left out.')
        if protocol.name == 'knn' and any(one.train < one.settings['k'][0] for one in found):
            notes.append(f'{column.title}: k = {found[0].train}, the number of training images.')
        if found and found[0].deviation is not None:
            splits = len(next(iter(found[0].scores.values())))
            notes.append(f'{column.title}: mean ± standard deviation over {splits} random splits.')
    notes += [f'{column.title} could not be read: {column.error}' for column in columns if column.error]
    titles = {column.key: column.title for column in columns}
    notes += [f'{row} on {titles[key]}: no result: {outcome.message}' for (row, key), outcome in outcomes.items()
              if outcome.state == 'failed']
    return notes


def markdown(table: Mapping[str, Any]) -> str:
    """The table as the paper has it, with caption and notes.

    Where the paper has numbers a network has up to three lines: ours, the paper's and the difference. As in
    the paper, the best of a column is bold and the second underlined, the supervised network apart; this is
    for our numbers, as they are printed.

    Args:
        table (Mapping): Of :func:`tabulate`.
    """
    compared = any(line['epochs'] is not None for line in table['rows'])
    head = ['network', *(['epochs', ''] if compared else []), *(task['title'] for task in table['tasks']), 'Avg.']
    ranked = [_entries(line) for line in table['rows'] if line['network'] != paper.SUPERVISED]
    marks = iter(zip(*map(_marks, zip(*ranked))))
    body = []
    for line in table['rows']:
        entries, average = _entries(line), line['average']
        marked = [''] * len(entries) if line['network'] == paper.SUPERVISED else next(marks)
        ours = [_ours(entry, mark) for entry, mark in zip(entries, marked)]
        if line['spec'] is not None and average['ours'] is None:
            ours[-1] = f'{average["tasks"]}/{average["of"]}'
        kinds = [('ours', ours)] if line['spec'] is not None or line['epochs'] is None else []
        if line['epochs'] is not None:
            kinds.append(('paper', [_number(entry['paper']) for entry in entries]))
        if any(entry['difference'] is not None for entry in entries):
            kinds.append(('difference', [_number(entry['difference'], '+') for entry in entries]))
        for number, (kind, values) in enumerate(kinds):
            name = '' if number else line['network'].replace('|', '\\|')
            epochs = '' if number or line['epochs'] is None else str(line['epochs'])
            body.append([name, *([epochs, kind] if compared else []), *values])
    grid = markdown_table(head, body, left=(0, 2) if compared else (0, ))
    notes = [f'- {note}' for note in table['notes']]
    return '\n'.join([_caption(table), '', grid, *([''] if notes else []), *notes]) + '\n'


def _caption(table: Mapping[str, Any]) -> str:
    """How our numbers were made."""
    settings = table['settings']
    how = 'linear probe, l2 chosen on validation images'
    if settings['protocol'] == 'knn':
        k = f'k = {settings["k"][0]}' if 'k' in settings else 'k as it fits each network'
        how = ', '.join(['kNN', k, *([f'T = {settings["temperature"]}'] if 'temperature' in settings else [])])
    images = f'of short side {settings["resize"]}, crop {settings["size"]}' if {'resize', 'size'} <= {*settings} else (
        'of the size that fits each network')
    titles: dict[str, list[str]] = {}
    for task in table['tasks']:
        if task['metric'] is not None:
            titles.setdefault(_METRICS[task['metric']], []).append(task['title'])
    metrics = '; '.join(titles if len(titles) < 2 else [f'{name} on {", ".join(on)}' for name, on in titles.items()])
    apart = f', {paper.SUPERVISED} apart' if any(line['network'] == paper.SUPERVISED for line in table['rows']) else ''
    return (f'Frozen networks, {how}; images {images}. In per cent{": " * bool(metrics)}{metrics}. '
            f'Best of ours bold, second underlined{apart}.')


def csv_text(table: Mapping[str, Any]) -> str:
    """A line for each network and task, and for each average; numbers to four decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    numbers = ('ours', 'deviation', 'paper', 'difference')
    writer.writerow(['network', 'epochs', 'task', 'metric', *numbers])
    tasks = [*((task['title'], task['metric']) for task in table['tasks']), ('Avg.', None)]
    for line in table['rows']:
        for (title, metric), entry in zip(tasks, _entries(line)):
            writer.writerow([line['network'], line['epochs'], title, metric,
                             *('' if entry[key] is None else f'{entry[key]:.4f}' for key in numbers)])
    return stream.getvalue()


def save_table(table: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, in place of those that are there."""
    texts = dict(md=markdown(table), csv=csv_text(table), json=json.dumps(table, indent=1) + '\n')
    files = [Path(folder) / f'table.{suffix}' for suffix in texts]
    for file, text in zip(files, texts.values()):
        with atomic_write(file, overwrite=True) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return files


def _entries(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*line['tasks'].values(), line['average']]


def _marks(column: Sequence[dict[str, Any]]) -> list[str]:
    """For each entry of a column ``'best'``, ``'second'`` or nothing, as far as the printed numbers tell."""
    printed = [None if entry['ours'] is None else round(entry['ours'], 2) for entry in column]
    known = [number for number in printed if number is not None]
    names = dict(zip(sorted(set(known), reverse=True), ('best', 'second'))) if len(known) > 1 else {}
    return ['' if number is None else names.get(number, '') for number in printed]


def _ours(entry: Mapping[str, Any], mark: str) -> str:
    text = _number(entry['ours']) + ('' if entry['deviation'] is None else f' ± {entry["deviation"]:.2f}')
    return dict(best=f'**{text}**', second=f'<u>{text}</u>').get(mark, text)


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.2f}'
