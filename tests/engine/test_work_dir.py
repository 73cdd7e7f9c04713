"""What a folder holds: the same again, something else, or a record that cannot be read."""

import json

import pytest

from sdr_mm.engine.work_dir import RECORD, claim, flatten
from sdr_mm.errors import InputError


def test_folder_is_claimed_again_for_the_same_and_refused_for_anything_else(tmp_path):
    folder = tmp_path / 'new' / 'folder'
    claim(folder, dict(depth=50, sizes=(1, 2)), 'race')
    claim(folder, dict(depth=50, sizes=[1, 2]), 'race')
    before = (folder / RECORD).read_text()
    with pytest.raises(InputError, match=r'folder holds another race, with depth = 50 where this one has 34: pass '):
        claim(folder, dict(depth=34, sizes=[1, 2]), 'race')
    with pytest.raises(InputError, match=r'with seed = None where this one has 0'):
        claim(folder, dict(depth=50, sizes=[1, 2], seed=0), 'race')
    with pytest.raises(InputError, match=r'^\S+ holds another race, with another sizes: pass'):
        claim(folder, dict(depth=50, sizes=list(range(100))), 'race')
    assert (folder / RECORD).read_text() == before


@pytest.mark.parametrize('text', ['', '{"depth": ', '[1]', '"depth"'])
def test_record_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(InputError, match='run.json cannot be read .*: remove it to continue') as error:
        claim(tmp_path, dict(depth=50))
    assert '\n' not in str(error.value)
    assert (tmp_path / RECORD).read_text() == text


def test_nested_settings_become_one_level_without_what_is_left_out():
    nested = dict(model=dict(backbone=dict(depth=18, path=(0, 1))), loader=dict(num_workers=4, batch_size=2))
    assert json.loads(json.dumps(flatten(nested, leave_out=('num_workers', )))) == {
        'loader.batch_size': 2, 'model.backbone.depth': 18, 'model.backbone.path': [0, 1]}
