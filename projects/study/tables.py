"""The tables of the study, from the numbers of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdr_mm.text_table import markdown_table

from .plan import RUNS


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """A table for each kind of BN statistics and each score: a run a row, a task a column, mean ± deviation over seeds.

    Args:
        results (Sequence[Mapping]): What the JSON files hold.
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
                found = [result for result in results if result['run'] == name]
                if not found:
                    continue
                about = 'random network' if name == 'random' else RUNS[name].about
                rows.append([about, *cells([[result['scores'][bn][task][score] for result in found]
                                            for task in tasks])])
                if score == 'knn' and found[0].get('subnets'):
                    every = np.array([[np.array(result['subnets'][bn][task]['subnets'])[:, 1] for result in found]
                                      for task in tasks])  # (task, seed, sub-net)
                    for kind, values in dict(mean=every.mean(2), worst=every.min(2), best=every.max(2)).items():
                        rows.append([f'– {kind} sub-net', *cells(values.tolist())])
            parts.append(f'{label}, {title}\n\n' + markdown_table(['accuracy in %', *tasks, 'mean'], rows))
    return '\n\n'.join(parts)


def cells(scores: Sequence[Sequence[float]]) -> list[str]:
    """A cell for each task of ``scores`` (task, seed), and one for their mean."""
    values = np.array(scores)
    return [f'{row.mean():.1f} ± {row.std(ddof=1):.1f}' if len(row) > 1 else f'{row.mean():.1f}'
            for row in [*values, values.mean(0)]]
