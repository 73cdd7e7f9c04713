"""The mixed pool: what it has of a task, and what choosing and scoring look at."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from projects.real_data import mixed
from projects.real_data.mixed import choose_and_score, in_memory, mixed_pool
from sdr_mm.evaluation import Split, Task


def test_choosing_looks_at_no_image_that_scores_and_groups_stay_together():
    groups = np.repeat(np.arange(40), 3)
    task = Task('t', ['a', 'b'], [f'{number}.png' for number in range(120)], np.repeat([0, 1], 60),
                [Split(np.arange(6, 114), np.r_[0:6, 114:120])], groups=groups)
    choose, score = choose_and_score(task).splits
    assert (score.train.tolist(), score.test.tolist()) == (list(range(6, 114)), [*range(6), *range(114, 120)])
    assert sorted([*choose.train, *choose.test]) == score.train.tolist()
    assert len(choose.test) == 30, 'five whole groups of each class, which are nearest to a quarter of 54'
    assert not {*groups[choose.train]} & {*groups[choose.test]}


def test_a_task_with_validation_images_chooses_by_them_and_trains_on_them_when_it_is_scored():
    task = Task('t', ['a', 'b'], [f'{number}.png' for number in range(8)], np.arange(8) % 2,
                [Split(np.arange(4), np.array([6, 7]), np.array([4, 5]))])
    choose, score = choose_and_score(task).splits
    assert (choose.train.tolist(), choose.test.tolist()) == ([0, 1, 2, 3], [4, 5])
    assert (score.train.tolist(), score.test.tolist()) == ([0, 1, 2, 3, 4, 5], [6, 7])


def test_pool_has_the_images_that_train_of_its_domains_and_no_other(tmp_path, monkeypatch):
    folders = {}
    for name in ('pool', 'known', 'unknown'):
        folders[name] = tmp_path / name
        for number in range(10):
            folder = folders[name] / ('' if name == 'pool' else 'ab'[number % 2])
            folder.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 20), (number, 0, 0)).save(folder / f'{number}.png')
    monkeypatch.setattr(mixed, 'prepare', lambda out, names: SimpleNamespace(folders={n: folders[n] for n in names}))
    found = mixed_pool(['known', 'unknown'], in_pool=('known', ))
    known, unknown = found.tasks
    train = [str(known.paths[number]) for number in known.splits[1].train]
    assert found.names == [*(f'pool/{number}.png' for number in range(10)),
                           *(path.removeprefix(f'{tmp_path}/') for path in train)]
    assert len(train) == 6 and len(known.splits[1].test) == len(unknown.splits[1].test) == 4
    assert Path(found.write_list(tmp_path / 'list.txt')).read_text().splitlines() == found.names
    images = in_memory(known).paths
    assert [np.asarray(image).shape for image in images] == 10 * [(32, 32, 3)]
    assert sorted(int(np.asarray(image)[0, 0, 0]) for image in images) == list(range(10))
