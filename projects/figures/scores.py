"""Scores of networks on tasks, from the files that evaluations and tables are kept in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from projects.paper_tables.table import FORMAT
from projects.study.plan import REFERENCES
from projects.study.tables import Score, read_results
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Evaluation
from sdr_mm.records import check, read_json
from sdr_mm.visualization import Scores


class Entry(TypedDict):
    """A number of a table; there are more."""

    ours: float | None


class Line(TypedDict):
    """A network of a table."""

    network: str
    scores: dict[str, Entry]


class Column(TypedDict):
    """A column of a table."""

    name: str
    title: str


class Table(TypedDict):
    """What ``table.json`` has, among other things."""

    columns: list[Column]
    rows: list[Line]


def read_scores(files: Sequence[str | Path]) -> Scores:
    """Reads the ``table.json`` of ``projects.paper_tables``, the JSON files of evaluations, or the folder of a study.

    Networks without a score of our own are left out. Networks and tasks of evaluations come as they first occur. The
    scores of a study are kNN with the task's BN statistics, means over its seeds.

    Raises:
        InputError: If a file is something else, evaluations are by different protocols, or two are of one network on
            one task.
    """
    if any(Path(file).is_dir() for file in files):
        if len(files) > 1:
            raise InputError(f'a study is a picture by itself, here are {len(files)} files: give one folder')
        return _of_study(Path(files[0]))
    advice = 'give the table.json of projects.paper_tables, or what tools/knn_eval.py or tools/linear_eval.py wrote'
    contents = [read_json(file, advice) for file in files]
    if any(isinstance(content, dict) and content.get('format') == FORMAT for content in contents):
        if len(contents) > 1:
            raise InputError(f'a table is a picture by itself, here are {len(contents)} files: give one table.json')
        return _of_table(contents[0], files[0], advice)
    return _of_evaluations([Evaluation.load(file) for file in files], files)


def _of_table(table: Any, file: str | Path, advice: str) -> Scores:
    try:
        check(table, Table, 'it')
        keys = [column['name'] for column in table['columns']]
        for line in table['rows']:
            if set(line['scores']) != set(keys):
                raise ValueError(f'{line["network"]} has other tasks than the table')
        names = [line['network'] for line in table['rows']]
        if len(set(names)) < len(names) or len(set(keys)) < len(keys):
            raise ValueError('it has a network or a task twice')
    except ValueError as error:
        raise InputError(f'{file} is no table ({error}): {advice}') from error
    rows = {line['network']: [line['scores'][key]['ours'] for key in keys] for line in table['rows']}
    known = {name: scores for name, scores in rows.items() if any(score is not None for score in scores)}
    if not known:
        raise InputError(f'{file} has no scores of our own: {advice}')
    values = np.array([[np.nan if score is None else score for score in scores] for scores in known.values()])
    return Scores([*known], [column['title'] for column in table['columns']], values)


def _of_evaluations(evaluations: Sequence[Evaluation], files: Sequence[str | Path]) -> Scores:
    networks = list(dict.fromkeys(one.network for one in evaluations))
    tasks = list(dict.fromkeys(one.task for one in evaluations))
    values = np.full((len(networks), len(tasks)), np.nan)
    for one, file in zip(evaluations, files):
        protocol, first = one.settings.get('protocol'), evaluations[0].settings.get('protocol')
        if protocol != first:
            raise InputError(f'{file} is an evaluation by {protocol} and {files[0]} one by {first}: give those of one '
                             'protocol')
        place = networks.index(one.network), tasks.index(one.task)
        if not np.isnan(values[place]):
            raise InputError(f'{file} is the second evaluation of {one.network} on {one.task}: give one of them')
        values[place] = one.mean
    return Scores(networks, tasks, values)


def _of_study(folder: Path) -> Scores:
    runs: dict[str, list[dict[str, Score]]] = {}
    for result in read_results(folder):
        if result['run'] != REFERENCES:
            runs.setdefault(result['run'], []).append(result['scores']['task'])
    if not runs:
        raise InputError(f'{folder} has no results of a study: give what python -m projects.study keeps')
    tasks = list(next(iter(runs.values()))[0])
    values = np.array([[np.mean([scores[task]['knn'] for scores in seeds]) for task in tasks]
                       for seeds in runs.values()])
    return Scores([*runs], tasks, values)
