"""The tables of the study, from the numbers of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_output
from sdr_mm.records import check, read_json
from sdr_mm.text_table import markdown_table

from .plan import RANDOM, REFERENCES, Plan


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

    Only the references have ``tasks``, and no ``seed``; only an SDRNet has ``subnets``, as ``scores`` by kind and task.
    """

    seed: int
    tasks: dict[str, list[int]]
    subnets: dict[str, dict[str, Networks]]


SCORES = dict(knn='kNN', linear='linear probe')
BN = dict(task="BN statistics of all networks from the task's training images",
          own='BN statistics from the pool, of a sub-net from its cluster')
GAINS = ("Gains over other runs, differences seed by seed; BN statistics of the task, or each network's own from the "
         "pool")
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


def tables(plan: Plan, results: Sequence[Mapping[str, Any]]) -> str:
    """The gains, then a table for each kind of BN statistics and each score: a run a row, a task a column.

    Over several seeds there are mean ± standard deviation.

    Args:
        plan (Plan): The study.
        results (Sequence[Mapping]): As :func:`read_results` gives them.
    """
    references = next((result for result in results if result['run'] == REFERENCES), None)
    if references is None:
        return 'no results yet'
    tasks = list(references['tasks'])
    rows = list(gains(plan, results, tasks))
    head = ['points, mean of the tasks', 'over', 'seeds',
            *(f'{label}, {bn} BN' for bn in BN for label in SCORES.values())]
    parts = [f'{GAINS}\n\n{markdown_table(head, rows, left=(0, 1))}'] if rows else []
    for bn, title in BN.items():
        for score, label in SCORES.items():
            rows = [[name, *cells([[scores[task][score]] for task in tasks])]
                    for name, scores in references['scores'].items()]
            for name in [RANDOM, *plan.runs]:
                found = [result for result in results if result['run'] == name and bn in result['scores']]
                if not found:
                    continue
                rows.append([title_of(plan, name), *cells([[result['scores'][bn][task][score] for result in found]
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


def title_of(plan: Plan, name: str) -> str:
    """What the tables call a run: how many passes over the pool it has behind its name."""
    return 'random network' if name == RANDOM else f'{plan.runs[name].about} ({plan.runs[name].epochs})'


def gains(plan: Plan, results: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> Iterator[list[str]]:
    """For each run and each one that it is compared with: the differences of their means over the tasks, seed by seed.

    Of a run with sub-nets, the routed one and, in kNN, the super-net.
    """
    found = {(result['run'], result['seed']): result for result in results if 'seed' in result}
    for name, run in plan.runs.items():
        for other in run.over:
            seeds = [seed for run, seed in found if run == name and (other, seed) in found]
            if not seeds:
                continue
            base, routed, supernet = ([[_mean(found[which, seed], bn, kind or score, tasks) for seed in seeds]
                                       for bn in BN for score in SCORES]
                                      for which, kind in ((other, ''), (name, ''), (name, 'supernet')))
            yield [title_of(plan, name), title_of(plan, other), str(len(seeds)), *map(_difference, routed, base)]
            if supernet[0][0] is not None:
                whole = map(_difference, supernet, base)
                yield ['– super-net', '', '', *(cell if score == 'knn' else '–' for cell, score in
                                                zip(whole, [*SCORES] * len(BN)))]


def _mean(result: Mapping[str, Any], bn: str, score: str, tasks: Sequence[str]) -> float | None:
    """Mean over the tasks of one of the scores, or of the super-net's kNN; None if it was not measured."""
    if score == 'supernet':
        parts = [result.get('subnets', {}).get(bn, {}).get(task, {}).get(score) for task in tasks]
    else:
        parts = [result['scores'].get(bn, {}).get(task, {}).get(score) for task in tasks]
    known = [part for part in parts if part is not None]
    return float(np.mean(known)) if len(known) == len(tasks) else None


def _difference(own: Sequence[float | None], base: Sequence[float | None]) -> str:
    """Mean ± deviation of the differences, signed."""
    pairs = [(one, other) for one, other in zip(own, base) if one is not None and other is not None]
    if not pairs:
        return '–'
    cell = cells([[one - other for one, other in pairs]])[0]
    return cell.replace('-', '−') if cell.startswith('-') else f'+{cell}'


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
