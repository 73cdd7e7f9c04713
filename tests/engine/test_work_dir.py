"""What a folder holds: the same again, something else, or a record that cannot be read."""

import json
import os
import shutil

import pytest
import torch
from mmengine.config import Config
from small_runs import assert_same_training, small_config, write_clusters, write_images

from sdr_mm.engine.training import train
from sdr_mm.engine.work_dir import RECORD, check_work_dir, claim, claim_work_dir, flatten
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import read_checkpoint


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


@pytest.mark.parametrize('text', [
    '', '{"depth": ', '[1]', '"depth"', '[' * 100_000, '{"depth": 50, "depth": 50}'], ids=len)
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


def work_dir(folder, resume):
    return Config(dict(work_dir=str(folder), resume=resume))


def test_folder_with_checkpoints_is_continued_on_request_only(tmp_path):
    fresh, again, same = work_dir(tmp_path / 'run', False), work_dir(tmp_path / 'run', True), dict(depth=18)
    check_work_dir(fresh)
    claim_work_dir(fresh, same)
    check_work_dir(fresh)
    claim_work_dir(fresh, dict(depth=34))  # nothing was trained yet
    claim_work_dir(fresh, same)
    check_work_dir(again)
    claim_work_dir(again, same)  # stopped before the first checkpoint
    (tmp_path / 'run/epoch_1.pth').write_bytes(b'weights')
    record = (tmp_path / 'run' / RECORD).read_text()
    with pytest.raises(InputError, match='--resume'):
        check_work_dir(fresh)
    check_work_dir(again)
    claim_work_dir(again, same)
    with pytest.raises(InputError, match='depth = 18 where this one has 34'):
        claim_work_dir(again, dict(depth=34))
    assert (tmp_path / 'run' / RECORD).read_text() == record
    assert (tmp_path / 'run/epoch_1.pth').read_bytes() == b'weights'


def test_there_is_nothing_to_resume_in_an_empty_or_mistyped_folder(tmp_path):
    cfg = small_config(write_images(tmp_path / 'images'), tmp_path / 'mistyped', resume=True)
    with pytest.raises(InputError, match='mistyped holds nothing to resume.*check --work-dir, or leave --resume out'):
        train(cfg, guard=True)
    assert not (tmp_path / 'mistyped').exists()


def test_record_of_an_earlier_version_says_what_to_do(tmp_path):
    (tmp_path / RECORD).write_text(json.dumps({'dataset.type': 'ImageFolder', 'dataset.data_root': 'photos/'}))
    (tmp_path / 'epoch_1.pth').write_bytes(b'weights')
    with pytest.raises(InputError, match='run.json was written by an earlier version.*: remove it to continue'):
        check_work_dir(work_dir(tmp_path, True))


@pytest.fixture(scope='module')
def sdr(tmp_path_factory):
    """A run of two epochs, its images and its clusters, all in one folder."""
    folder = tmp_path_factory.mktemp('sdr')
    images = write_images(folder / 'images')
    clusters = write_clusters(folder / 'clusters.npz', images)
    train(small_config(images, folder / 'run', clusters), guard=True)
    return folder


def half_of(folder, copy):
    """The state after the first epoch, in another folder."""
    shutil.copytree(folder, copy)
    (copy / 'run/epoch_2.pth').unlink()
    return copy


def test_run_is_known_by_its_content_not_by_its_paths(sdr, tmp_path, monkeypatch):
    """Moved, with the same clusters written anew under another name, and paths relative and with a slash."""
    moved = half_of(sdr, tmp_path / 'moved')
    write_clusters(moved / 'again.npz', moved / 'images')
    monkeypatch.chdir(moved)
    train(small_config('images/', 'run/', './again.npz', resume=True), guard=True)
    assert_same_training('run/epoch_2.pth', sdr / 'run/epoch_2.pth')


OTHERS = {
    'supernet_prob': (dict(hook=dict(supernet_prob=0.5)), 'supernet_prob = None where this one has 0.5'),
    'joint': (dict(hook=dict(joint=True)), 'joint = False where this one has True'),
    'phase_iters': (dict(hook=dict(phase_iters=(0, 3))), r'phase_iters = \[0, 6\] where this one has \[0, 3\]'),
    'length': (dict(epochs=4), r'phase_iters = \[0, 6\] where this one has \[0, 12\]'),
    'batch size': (dict(train_dataloader__batch_size=3), 'batch_size = 4 where this one has 3'),
    'clusters': (dict(shift=1), 'another clusters'),
    'share_images': (dict(train_dataloader__dataset__share_images=True), 'another clusters'),
    'images': (dict(rename=True), 'another clusters|another images|another image list'),
    'layout': (dict(model__backbone__base_channels=(8, 8)), 'model.backbone.base_channels = '),
}


@pytest.mark.parametrize('place', ['folder', 'file'])
@pytest.mark.parametrize('name', OTHERS)
def test_another_run_is_refused(name, place, sdr, tmp_path):
    """Whether it would continue in the folder of the run, or from its checkpoint in a new one."""
    copy = half_of(sdr, tmp_path / 'copy')
    options, expected = OTHERS[name]
    options = dict(options)
    hook = options.pop('hook', {})
    if options.pop('rename', False):
        os.rename(copy / 'images/00.png', copy / 'images/99.png')
    write_clusters(copy / 'clusters.npz', copy / 'images', options.pop('shift', 0))
    before = {file: file.read_bytes() for file in (copy / 'run').iterdir() if file.is_file()}
    folder, resume = (copy / 'run', True) if place == 'folder' else (tmp_path / 'new', copy / 'run/epoch_1.pth')
    cfg = small_config(copy / 'images', folder, copy / 'clusters.npz', resume=resume, **options)
    cfg.custom_hooks[0].update(hook)
    with pytest.raises(InputError, match=expected):
        train(cfg, guard=True)
    assert before == {file: file.read_bytes() for file in (copy / 'run').iterdir() if file.is_file()}


def test_equivalent_options_are_the_same_run(sdr, tmp_path):
    copy = half_of(sdr, tmp_path / 'copy')
    cfg = small_config(copy / 'images', copy / 'run', copy / 'clusters.npz', resume=True, model__backbone__with_cp=True)
    cfg.custom_hooks[0].update(phase_epochs=[0, 1])
    train(cfg, guard=True)
    assert_same_training(copy / 'run/epoch_2.pth', sdr / 'run/epoch_2.pth')


def test_checkpoint_without_a_record_resumes(sdr, tmp_path):
    """One of an earlier version, from which only the fit of its content can be checked."""
    copy = half_of(sdr, tmp_path / 'copy')
    (copy / 'run' / RECORD).unlink()
    checkpoint = read_checkpoint(copy / 'run/epoch_1.pth')
    del checkpoint['meta']['run']
    torch.save(checkpoint, copy / 'run/epoch_1.pth')
    train(small_config(copy / 'images', copy / 'run', copy / 'clusters.npz', resume=True), guard=True)
    assert_same_training(copy / 'run/epoch_2.pth', sdr / 'run/epoch_2.pth')
