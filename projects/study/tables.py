"""The tables of the study, from the numbers of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_output
from sdr_mm.records import check, read_json
from sdr_mm.text_table import markdown_table

from .plan import RUNS


class Score(TypedDict):
    """Accuracy in per cent."""

    knn: float
    linear: float


class Subnets(TypedDict):
    """kNN of each sub-net on the images that choose, and on those that count."""

    subnets: list[list[float]]


class Networks(Subnets, total=False):
    """And kNN of the super-net on those that count, if there is one."""

    supernet: float


class Scored(TypedDict):
    """A run, or ``'references'``; scores by kind of BN statistics, or by features, then by task."""

    run: str
    scores: dict[str, dict[str, Score]]


class Result(Scored, total=False):
    """What a JSON file of the study holds, as far as the tables need it.

    Only the references have ``tasks``, and only an SDRNet has ``subnets``, as ``scores`` by kind and task.
    """

    tasks: dict[str, list[int]]
    subnets: dict[str, dict[str, Networks]]


ADVICE = 'remove it and run the study again'
MARKERS = '<!-- tables -->', '<!-- end of the tables -->'


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Reads the JSON files of a folder, each a :class:`Result`.

    Raises:
        InputError: If one is something else, or not of the tasks that the references are of.
    """
    results: dict[Path, dict[str, Any]] = {}
    for file in sorted(folder.glob('*.json')):
        content = read_json(file, ADVICE)
        try:
            check(content, Result, 'the result')
        except ValueError as error:
            raise InputError(f'{file} is no result of the study ({error}): {ADVICE}') from error
        results[file] = content
    tasks = next((list(result['tasks']) for result in results.values() if 'tasks' in result), None)
    for file, result in results.items():
        parts = [*result['scores'].values(), *result.get('subnets', {}).values()]
        complete = 'tasks' in result or 'task' in result['scores']
        if not complete or any(list(part) != tasks for part in parts):
            raise InputError(f'{file} is not of the tasks of the references, or lacks scores: {ADVICE}')
    return list(results.values())


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """A table for each kind of BN statistics and each score: a run a row, a task a column, mean ± deviation over seeds.

    Args:
        results (Sequence[Mapping]): As :func:`read_results` gives them.
    """
    references = next((result for result in results if result['run'] == 'references'), None)
    if references is None:
        return 'no results yet'
    tasks = list(references['tasks'])
    parts = []
    for bn, title in dict(task="BN statistics of all networks from the task's training images",
                          own='BN statistics from the pool, of a sub-net from its cluster').items():
        for score, label in dict(knn='kNN', linear='linear probe').items():
            rows = [[name, *cells([[scores[task][score]] for task in tasks])]
                    for name, scores in references['scores'].items()]
            for name in ['random', *RUNS]:
                found = [result for result in results if result['run'] == name and bn in result['scores']]
                if not found:
                    continue
                about = 'random network' if name == 'random' else f'{RUNS[name].about} ({RUNS[name].epochs})'
                rows.append([about, *cells([[result['scores'][bn][task][score] for result in found]
                                            for task in tasks])])
                if score == 'knn' and found[0].get('subnets'):
                    every = np.array([[np.array(result['subnets'][bn][task]['subnets'])[:, 1] for result in found]
                                      for task in tasks])  # (task, seed, sub-net)
                    for kind, values in dict(mean=every.mean(2), worst=every.min(2), best=every.max(2)).items():
                        rows.append([f'– {kind} sub-net', *cells(values.tolist())])
                    if 'supernet' in found[0]['subnets'][bn][tasks[0]]:
                        rows.append(['– super-net', *cells([[result['subnets'][bn][task]['supernet']
                                                             for result in found] for task in tasks])])
            parts.append(f'{label}, {title}\n\n' + markdown_table(['accuracy in %', *tasks, 'mean'], rows))
    return '\n\n'.join(parts)


def cells(scores: Sequence[Sequence[float]]) -> list[str]:
    """A cell for each task of ``scores`` (task, seed), and one for their mean."""
    values = np.array(scores)
    return [f'{row.mean():.1f} ± {row.std(ddof=1):.1f}' if len(row) > 1 else f'{row.mean():.1f}'
            for row in [*values, values.mean(0)]]


def around_tables(page: Path) -> tuple[str, str]:
    """What a page has before and after the tables, which are between its two :data:`MARKERS`.

    Raises:
        InputError: If it cannot be read or written, or does not have both of them once.
    """
    check_output(page, overwrite=True)
    try:
        content = page.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{page} cannot be read ({error}): give a page of text') from error
    if [content.count(marker) for marker in MARKERS] != [1, 1] or content.index(MARKERS[0]) > content.index(MARKERS[1]):
        raise InputError(f'{page} has no place for the tables: put {" and ".join(MARKERS)} on lines of their own')
    return content.split(MARKERS[0])[0], content.split(MARKERS[1])[1]


def write_page(page: Path, text: str) -> None:
    """Puts the tables into a page; an InputError as of :func:`around_tables`."""
    before, after = around_tables(page)
    with atomic_write(page, overwrite=True) as temporary:
        temporary.write_text(f'{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}', encoding='utf-8')
