"""docs/inspection.md says what the kept numbers of the study say of the solar cells."""

import json
import re
import statistics

import pytest
from repository import ROOT

TASK, SEEDS = 'solar_cells', range(3)
COLUMNS = (('task', 'knn'), ('task', 'linear'), ('own', 'knn'), ('own', 'linear'))
ROWS = {'everything but the cells': 'without_solar_cells', 'everything': 'all', 'the cells alone': 'only_solar_cells'}
DIFFERENCES = {
    '*cells alone − everything*': ('only_solar_cells', 'all'),
    '*everything − everything but the cells*': ('all', 'without_solar_cells')}


def kept(run, bn, score):
    folder = ROOT / 'docs/study/negative_transfer'
    return [json.loads((folder / f'{run}-{seed}.json').read_text())['scores'][bn][TASK][score] for seed in SEEDS]


def expected(title):
    for bn, score in COLUMNS:
        if title.startswith('nothing'):
            references = json.loads((ROOT / 'docs/study/negative_transfer/references.json').read_text())
            yield f'{references["scores"]["raw pixels"][TASK][score]:.1f}'
        elif title in ROWS:
            values = kept(ROWS[title], bn, score)
            yield f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'
        else:
            first, second = (kept(run, bn, score) for run in DIFFERENCES[title])
            values = [one - other for one, other in zip(first, second)]
            yield f'{statistics.mean(values):+.1f} ± {statistics.stdev(values):.1f}'.replace('-', '−')


@pytest.mark.parametrize('title', ['nothing: raw pixels', *ROWS, *DIFFERENCES])
def test_rows_of_the_page_are_the_kept_numbers(title):
    page = (ROOT / 'docs/inspection.md').read_text(encoding='utf-8')
    row = re.search(rf'^\| {re.escape(title)} \|(.*)\|$', page, re.MULTILINE)
    assert row, f'no row {title!r}'
    assert [cell.strip() for cell in row[1].split('|')] == list(expected(title))
