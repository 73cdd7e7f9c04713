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
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdr_mm.cli import is_main_process
from sdr_mm.errors import InputError
from sdr_mm.evaluation.evaluate import Evaluation, Protocol, evaluate_network, task_fingerprint
from sdr_mm.evaluation.task import Task
from sdr_mm.evaluation.task_config import load_task
from sdr_mm.files import atomic_write, check_folder
from sdr_mm.models.baselines import BASELINES
from sdr_mm.models.checkpoints import weights_fingerprint
from sdr_mm.models.zoo import load_network, weight_file
from sdr_mm.text_table import markdown_table

from . import paper

FORMAT = 'sdr_mm table 2'
EVALUATIONS = 'evaluations'
NUMBERS = ('ours', 'deviation', 'paper', 'difference')
_METRICS = dict(accuracy='accuracy', mean_per_class='mean accuracy of the classes', map_11='11-point mAP')


class Row(NamedTuple):
    """A network, or one for each task.

    Args:
        name (str): For the table. Names of :data:`paper.TABLE1` get the paper's numbers beside them.
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

    A row is that of ``given``, or the publisher's weight file in ``folder``, under the name that :data:`BASELINES`
    has; where there is neither it shows the paper's numbers only.

    Raises:
        InputError: If there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder}: give --weights the folder with the weight files')
    own = {row.name: row for row in given}
    rows = [own.pop(name) if name in own else _published(name, folder) for name in paper.TABLE1]
    return [*rows, *own.values()]


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


def check_out(folder: str | Path) -> None:
    """Refuses before the work a folder in which no table can be written; changes nothing.

    Raises:
        InputError: If it holds something else, or cannot be written to.
    """
    check_folder(folder)
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / EVALUATIONS).is_dir():
        raise InputError(f'{folder} has files in it that are no table: give --out another folder')


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


def tabulate(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, found: Found) -> dict[str, Any]:
    """Puts our numbers beside the paper's.

    The paper's numbers are for its eleven tasks, read by configs of their names, under the linear
    protocol. Under kNN the paper has two averages, over all of the eleven with ``k`` = 200.

    Returns:
        dict: The content of ``table.json``: the settings that all evaluations share, the tasks, for each network
        an entry a task and their average, and notes. An entry has the numbers ``ours``, its ``deviation`` over
        the splits, ``paper`` and their ``difference``, each None where there is none.
    """
    known = {key: evaluation for key, evaluation in found.items() if isinstance(evaluation, Evaluation)}
    settings = [evaluation.settings for evaluation in known.values()]
    shared: dict[str, Any] = dict(protocol=protocol.name)
    shared |= {key: settings[0][key] for key in ('resize', 'size', 'k', 'temperature')
               if settings and all(key in one and one[key] == settings[0][key] for one in settings)}
    keys = [column.key if column.published else '' for column in columns]
    lines = []
    for row in rows:
        reference = paper.TABLE1.get(row.name) if protocol.name == 'linear' else None
        entries = {}
        for column, key in zip(columns, keys):
            own = known.get((row.name, column.key))
            entry = _entry(own.mean if own else None, reference.score(key) if reference else None,
                           own.deviation if own else None)
            entries[column.key] = dict(entry, l2=[split['l2'] for split in own.splits] if own else [])
        ours = [entry['ours'] for entry in entries.values() if entry['ours'] is not None]
        average = reference.mean(keys) if reference else None
        if protocol.name == 'knn' and set(keys) == set(paper.TASKS) and shared.get('k') == [200]:
            average = paper.KNN_AVERAGES.get(row.name)
        entry = _entry(float(np.mean(ours)) if len(ours) == len(columns) else None, average)
        compared = any(entry['paper'] is not None for entry in (*entries.values(), entry))
        lines.append(dict(network=row.name, spec=row.spec, tasks=entries,
                          epochs=paper.TABLE1[row.name].epochs if compared else None,
                          average=dict(entry, tasks=len(ours), of=len(columns))))
    tasks = [dict(name=column.key, title=column.title, error=column.error or None,
                  metric=None if column.task is None else column.task.metric) for column in columns]
    return dict(format=FORMAT, settings=shared, tasks=tasks, rows=lines,
                notes=_notes(rows, columns, protocol, found, lines))


def _entry(ours: float | None, published: float | None, deviation: float | None = None) -> dict[str, Any]:
    difference = None if ours is None or published is None else ours - published
    return dict(ours=ours, deviation=deviation, paper=published, difference=difference)


def _notes(rows: Sequence[Row], columns: Sequence[Column], protocol: Protocol, found: Found,
           lines: Sequence[dict[str, Any]]) -> list[str]:
    notes = [f'{row.name}: {row.note}.' for row in rows if row.note]
    strange = [row.name for row in rows if row.name not in paper.TABLE1]
    if any(line['epochs'] is not None for line in lines):
        notes += [f"The paper's table has no row {', '.join(strange)}."] * bool(strange)
        if any(line['average']['paper'] is not None for line in lines) and len(columns) < len(paper.TASKS):
            notes.append("The paper's averages are those of its numbers on the tasks that are shown.")
        notes += ["The paper's averages by kNN are those of its table 4."] * (protocol.name == 'knn')
    for column in columns:
        results = {row.name: found[row.name, column.key] for row in rows if (row.name, column.key) in found}
        known = [result for result in results.values() if isinstance(result, Evaluation)]
        skipped = max((one.skipped for one in known), default=0)
        if skipped:
            notes.append(f'{column.title}: {skipped} images could not be decoded and were left out.')
        if any(one.train < one.settings.get('k', [0])[0] for one in known):
            notes.append(f'{column.title}: k = {known[0].train}, the number of training images.')
        if known and known[0].deviation is not None:
            splits = len(next(iter(known[0].scores.values())))
            notes.append(f'{column.title}: mean ± standard deviation over {splits} random splits.')
        notes += [f'{column.title} could not be read: {column.error}'] * bool(column.error)
        notes += [f'{row} on {column.title}: no result: {why}' for row, why in results.items() if isinstance(why, str)]
    return notes


def markdown(table: Mapping[str, Any]) -> str:
    """The table as the paper has it, with caption and notes.

    Where the paper has numbers a network has up to three lines: ours, the paper's and the difference. As in
    the paper, the best of a column is bold and the second underlined, the supervised network apart; this is
    for our numbers, as they are printed.
    """
    compared = any(line['epochs'] is not None for line in table['rows'])
    head = ['network', *(['epochs', ''] if compared else []), *(task['title'] for task in table['tasks']), 'Avg.']
    ranked = [line for line in table['rows'] if line['network'] != paper.SUPERVISED]
    marks = [_marks([entry['ours'] for entry in column]) for column in zip(*map(_entries, ranked))]
    body = []
    for line in table['rows']:
        entries = _entries(line)
        ours = [_ours(entry, column if line in ranked else {})
                for entry, column in zip(entries, marks or [{}] * len(entries))]
        if line['spec'] is not None and entries[-1]['ours'] is None:
            ours[-1] = f'{entries[-1]["tasks"]}/{entries[-1]["of"]}'
        kinds = {'ours': ours} if line['spec'] is not None or line['epochs'] is None else {}
        if line['epochs'] is not None:
            kinds['paper'] = [_number(entry['paper']) for entry in entries]
        if any(entry['difference'] is not None for entry in entries):
            kinds['difference'] = [_number(entry['difference'], '+') for entry in entries]
        name, epochs = line['network'].replace('|', '\\|'), str(line['epochs'] or '')
        for kind, values in kinds.items():
            body.append([name, *([epochs, kind] if compared else []), *values])
            name, epochs = '', ''
    grid = markdown_table(head, body, left=(0, 2) if compared else (0, ))
    notes = [f'- {note}' for note in table['notes']]
    return '\n'.join([_caption(table), '', grid, *([''] if notes else []), *notes]) + '\n'


def _caption(table: Mapping[str, Any]) -> str:
    """How our numbers were made."""
    settings = table['settings']
    how = 'linear probe, l2 chosen on validation images'
    if settings['protocol'] == 'knn':
        k = settings['k'][0] if 'k' in settings else 'what fits each network'
        how = f'kNN, k = {k}' + (f', T = {settings["temperature"]}' if 'temperature' in settings else '')
    images = 'the size that fits each network'
    if {'resize', 'size'} <= {*settings}:
        images = f'short side {settings["resize"]}, crop {settings["size"]}'
    titles: dict[str, list[str]] = {}
    for task in table['tasks']:
        if task['metric'] is not None:
            titles.setdefault(_METRICS[task['metric']], []).append(task['title'])
    metrics = '; '.join(titles if len(titles) < 2 else [f'{name} on {", ".join(on)}' for name, on in titles.items()])
    apart = f', {paper.SUPERVISED} apart' if any(line['network'] == paper.SUPERVISED for line in table['rows']) else ''
    return (f'Frozen networks, {how}; images of {images}. In per cent{": " * bool(metrics)}{metrics}. '
            f'Best of ours bold, second underlined{apart}.')


def csv_text(table: Mapping[str, Any]) -> str:
    """A line for each network and task, and for each average; numbers to four decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['network', 'epochs', 'task', 'metric', *NUMBERS])
    tasks = [*((task['title'], task['metric']) for task in table['tasks']), ('Avg.', None)]
    for line in table['rows']:
        for (title, metric), entry in zip(tasks, _entries(line)):
            writer.writerow([line['network'], line['epochs'], title, metric,
                             *('' if entry[key] is None else f'{entry[key]:.4f}' for key in NUMBERS)])
    return stream.getvalue()


def save_table(table: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, in place of those that are there."""
    texts = dict(md=markdown(table), csv=csv_text(table), json=json.dumps(table, indent=1) + '\n')
    for suffix, text in texts.items():
        with atomic_write(Path(folder) / f'table.{suffix}', overwrite=True) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return [Path(folder) / f'table.{suffix}' for suffix in texts]


def _entries(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*line['tasks'].values(), line['average']]


def _marks(column: Sequence[float | None]) -> dict[str, str]:
    """What to write for the best and the second of the numbers of a column, as they are printed."""
    printed = sorted({round(number, 2) for number in column if number is not None}, reverse=True)
    several = sum(number is not None for number in column) > 1
    return dict(zip(map(_number, printed if several else ()), ('**{}**', '<u>{}</u>')))


def _ours(entry: Mapping[str, Any], marks: Mapping[str, str]) -> str:
    text = _number(entry['ours'])
    spread = '' if entry['deviation'] is None else f' ± {entry["deviation"]:.2f}'
    return marks.get(text, '{}').format(text + spread)


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.2f}'
