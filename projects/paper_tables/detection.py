"""The paper's Table 2 with numbers of our own: detectors that were fine-tuned on the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import parse_config
from sdr_mm.records import check, read_json, read_json_lines

from . import paper
from .rows import named
from .table import make_entry, make_row, make_table

LOGS = '*/vis_data/scalars.json'
"""The log of each part of a training, below its work directory; the config that it had lies beside it."""

TEST2007 = 'VOC2007/ImageSets/Main/test.txt'
ADVICE = 'give the work directory of a finished tools/train.py, or the file of tools/test.py --out'
_METRICS = dict(AP='VOC 11-point, IoU 0.50:0.95', AP50='VOC 11-point, IoU 0.50', AP75='VOC 11-point, IoU 0.75')
_CAPTION = ('Detectors on the networks, fine-tuned; in per cent by the 11-point rule of VOC, AP is the mean over IoU '
            "0.50:0.95. The paper's are Faster R-CNN FPN, trained on VOC trainval07+12, scored on test2007.")


class Logged(TypedDict, total=False):
    """A line of MMEngine's log; those of a training name the iteration."""

    iter: int


class Run(NamedTuple):
    """The result of one fine-tuning.

    Args:
        source (str): What it was read from.
        scores (dict): AP, AP50 and AP75 in per cent.
        iterations (int, optional): How long it was trained. None: the file does not say.
        images (str, optional): What it was scored on. None: the file does not say.
    """

    source: str
    scores: dict[str, float]
    iterations: int | None = None
    images: str | None = None

    @property
    def comparable(self) -> bool:
        """Whether it was scored on the images of the paper, as far as is known."""
        return self.images in (None, TEST2007)


def read_runs(texts: Sequence[str]) -> dict[str, list[Run]]:
    """The runs of each network, from ``NAME=RUN``; a name that comes again has several.

    Raises:
        InputError: If a run cannot be read, is not finished or is there twice, or those of one name differ in their
            length or their images.
    """
    runs: dict[str, list[Run]] = {}
    seen: dict[Path, str] = {}
    for name, source in named(texts, 'SimSiam=work_dirs/voc', 'RUN'):
        place = Path(source).expanduser().resolve()
        if place in seen:
            raise InputError(f'--networks has {source} twice, for {seen[place]!r} and for {name!r}: give each run once')
        seen[place] = name
        runs.setdefault(name, []).append(read_run(source))
    for name, those in runs.items():
        for what in ('iterations', 'images'):
            known = {value for value in (getattr(run, what) for run in those) if value is not None}
            if len(known) > 1:
                values = ' and '.join(map(str, sorted(known)))
                raise InputError(f'the runs of {name!r} differ in their {what}, {values}: give each kind a name of its '
                                 'own')
    return runs


def read_run(source: str) -> Run:
    """Reads a work directory, or the file of ``tools/test.py --out``; nothing in them is executed.

    Raises:
        InputError: If there is neither, or it has no AP, AP50 and AP75 of the end of a training.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_work_dir(source, path)
    return Run(source, _scores(read_json(path, ADVICE), path))


def _read_work_dir(source: str, folder: Path) -> Run:
    logs = sorted(folder.glob(LOGS))  # Of the first part, and of each that resumed; their names are dates.
    if not logs:
        raise InputError(f'{folder} holds no log of a training, no {LOGS}: {ADVICE}')
    iteration, validation = 0, None
    for log in logs:
        for number, logged in enumerate(read_json_lines(log, ADVICE), 1):
            try:
                check(logged, Logged, f'line {number}')
            except ValueError as error:
                raise InputError(f'{log} is no log of a training ({error}): {ADVICE}') from error
            # A validation names no iteration (MMEngine writes "step": 0): it is of the one before it.
            iteration, validation = (logged['iter'], None) if 'iter' in logged else (iteration, (log, logged))
    last = validation[0] if validation else logs[-1]
    file = last.with_name('config.py')
    config = parse_config(file.read_text(encoding='utf-8', errors='replace')) if file.is_file() else {}
    end = _entry(config, 'train_cfg').get('max_iters')
    if type(end) is not int:
        raise InputError(f'{file} does not say how many iterations the training has (train_cfg.max_iters): score its '
                         'checkpoint with tools/test.py --out, and give that file')
    if validation is None or iteration != end:
        raise InputError(f'{folder} is no finished training, its log has no AP after iteration {end:,} and ends at '
                         f'{iteration:,}: continue it with tools/train.py --resume, or score its checkpoint with '
                         'tools/test.py --out and give that file')
    return Run(source, _scores(validation[1], last), end, _images(_entry(_entry(config, 'val_dataloader'), 'dataset')))


def _entry(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _images(dataset: Mapping[str, Any]) -> str:
    """The images of a data set of VOC format: :data:`TEST2007` for all of that with its classes."""
    images = str(dataset.get('ann_file'))
    if f'{dataset.get("data_root")}/{images}'.endswith(f'/{TEST2007}'):
        images = TEST2007
    if changed := [name for name in ('metainfo', 'indices') if dataset.get(name) is not None]:
        return f'{images} with other {" and ".join(changed)}'
    return images


def _scores(content: Any, file: Path) -> dict[str, float]:
    """The three numbers, whatever prefix their names have."""
    try:
        check(content, dict[str, Any], 'it')
        found = {name.split('/')[-1]: value for name, value in content.items()}
        for name in paper.DETECTION_SCORES:
            if name not in found:
                raise ValueError(f'it has no {name}')
            check(found[name], float, name)
            if not 0 <= found[name] <= 100:
                raise ValueError(f'{name} is {found[name]}, not per cent')
    except ValueError as error:
        raise InputError(f'{file} has no AP, AP50 and AP75 of VOCDetectionMetric ({error}): {ADVICE}') from error
    return {name: float(found[name]) for name in paper.DETECTION_SCORES}


def tabulate(names: Sequence[str], runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Puts the means of our runs beside the paper's numbers, see :func:`make_table`.

    The paper's numbers are for ``test2007`` of VOC. What was scored on other images stands without them.
    """
    published = paper.TABLE2
    rows, notes = [], []
    for name in names:
        own = runs.get(name, ())
        reference = published.rows.get(name) if all(run.comparable for run in own) else None
        entries = {}
        for key in paper.DETECTION_SCORES:
            values, theirs = [run.scores[key] for run in own], reference.scores[key] if reference else None
            entries[key] = make_entry(float(np.mean(values)) if own else None, theirs,
                                      float(np.std(values)) if len(own) > 1 else None)
        rows.append(make_row(name, [run._asdict() for run in own] or None, published, entries))
        notes += _notes(name, own)
    columns = [dict(name=key, title=key, metric=metric) for key, metric in _METRICS.items()]
    return make_table(published, _CAPTION, columns, rows, notes)


def _notes(name: str, runs: Sequence[Run]) -> list[str]:
    notes = [f'{name}: mean ± standard deviation over {len(runs)} runs.'] * (len(runs) > 1)
    for text in dict.fromkeys(f'scored on {run.images}, so it is not compared with the paper' for run in runs
                              if not run.comparable):
        notes.append(f'{name}: {text}.')
    for iterations in dict.fromkeys(run.iterations for run in runs):
        if iterations not in (None, paper.DETECTION_ITERATIONS):
            notes.append(f'{name}: {iterations:,} iterations; the paper has {paper.DETECTION_ITERATIONS:,}.')
    notes += [f'{name}: {run.source} does not say what it was trained and scored on.' for run in runs
              if run.images is None]
    return notes
