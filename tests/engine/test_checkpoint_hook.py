"""Checkpoints are written whole or not at all, and the last good one is never removed."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from repository import ROOT
from small_runs import BASELINE, SDR, assert_same_training, small_config, write_clusters, write_images

from sdr_mm.engine.checkpoint_hook import WholeCheckpointHook
from sdr_mm.engine.resuming import checkpoint_files
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.registry import HOOKS, LOOPS

LIMIT = 1 << 18
"""Bytes of a file after which the disk fails; a checkpoint has more."""


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def files_unlimited_afterwards():
    try:
        yield
    finally:
        limit_files(resource.RLIM_INFINITY)


@HOOKS.register_module()
class FailingDiskHook(Hook):
    """From the second epoch on no file can have more than LIMIT bytes."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            limit_files(LIMIT)


@LOOPS.register_module()
class ScoreLoop(BaseLoop):
    """A validation that gives the next of the scores after each epoch, and after epoch ``full`` fills the disk."""

    def __init__(self, runner, dataloader, evaluator, scores, full=None):
        super().__init__(runner, [])
        self.scores, self.full = scores, full

    def run(self):
        if self.runner.epoch == self.full:
            limit_files(LIMIT)
        self.runner.call_hook('after_val_epoch', metrics={
            name: values[self.runner.epoch - 1] for name, values in self.scores.items()})


def scored_config(images, work_dir, scores, *, full=None, **options):
    cfg = small_config(images, work_dir, **options)
    cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = dict(type='ScoreLoop', scores=scores, full=full), {}, {}
    cfg.default_hooks.checkpoint.save_best = list(scores)
    return cfg


def best(folder):
    return sorted(file.name for file in folder.glob('best*'))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / 'images')


def test_checkpoint_that_cannot_be_written_costs_nothing(images, tmp_path):
    cfg = small_config(images, tmp_path / 'run', hooks=[dict(type='FailingDiskHook')],
                       default_hooks__checkpoint__max_keep_ckpts=1)
    with files_unlimited_afterwards(), pytest.raises(
            InputError, match=f'epoch_2.pth cannot be written .{os.strerror(errno.EFBIG)}'):
        train(cfg)
    assert (tmp_path / 'run/epoch_1.pth').stat().st_size > LIMIT
    assert [file.name for file in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']
    assert read_checkpoint(tmp_path / 'run/epoch_1.pth')['meta']['iter'] == 6
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/epoch_1.pth')


def test_pointer_that_is_half_written_stays_the_old_one(images, tmp_path, monkeypatch):
    point_to = WholeCheckpointHook._point_to

    def point_on_a_full_disk(self, name, runner):
        with files_unlimited_afterwards():
            limit_files(8 if name == 'epoch_2.pth' else LIMIT)
            point_to(self, name, runner)

    monkeypatch.setattr(WholeCheckpointHook, '_point_to', point_on_a_full_disk)
    with pytest.raises(InputError, match='last_checkpoint cannot be written'):
        train(small_config(images, tmp_path / 'run', default_hooks__checkpoint__max_keep_ckpts=1))
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/epoch_1.pth')
    assert read_checkpoint(tmp_path / 'run/epoch_1.pth')['meta']['iter'] == 6


@pytest.mark.parametrize('scores, expected', [
    (dict(acc=[1., 2., 1.5, 3.]), ['best_acc_epoch_4.pth']),
    (dict(acc=[1., 2., 1.5, 3.], loss=[4., 5., 3., 6.]), ['best_acc_epoch_4.pth', 'best_loss_epoch_3.pth'])])
def test_of_the_best_checkpoints_only_the_newest_by_each_metric_is_kept(scores, expected, images, tmp_path):
    train(scored_config(images, tmp_path / 'run', scores, epochs=4))
    assert best(tmp_path / 'run') == expected
    assert all(read_checkpoint(tmp_path / 'run' / name)['meta']['iter'] == 6 * int(name[-5]) for name in expected)


@pytest.mark.parametrize('scores', [dict(acc=[1., 2., 3.]), dict(acc=[1., 2., 3.], loss=[3., 2., 1.])])
def test_best_checkpoint_stays_until_a_better_one_is_whole(scores, images, tmp_path):
    first, last = ([f'best_{name}_epoch_{epoch}.pth' for name in scores] for epoch in (1, 3))
    with files_unlimited_afterwards(), pytest.raises(InputError, match='best_acc_epoch_2.pth cannot be written'):
        train(scored_config(images, tmp_path / 'run', scores, full=2))
    assert best(tmp_path / 'run') == first
    assert all(read_checkpoint(tmp_path / 'run' / name)['meta']['iter'] == 6 for name in first)
    # A copy goes on with its own files.
    shutil.copytree(tmp_path / 'run', tmp_path / 'copy')
    train(scored_config(images, tmp_path / 'copy', scores, epochs=3, resume=True))
    assert best(tmp_path / 'run') == first and best(tmp_path / 'copy') == last


def test_only_as_many_are_kept_as_were_asked_for(images, tmp_path):
    train(small_config(images, tmp_path / 'run', epochs=3, default_hooks__checkpoint__max_keep_ckpts=1))
    assert [file.name for file in (tmp_path / 'run').glob('*.pth')] == ['epoch_3.pth']


@pytest.mark.slow
@pytest.mark.parametrize('config, wanted', [(BASELINE, 7), (SDR, 6)])
def test_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(config, wanted, images, tmp_path):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    networks = [] if config == BASELINE else ['--clusters', write_clusters(tmp_path / 'clusters.npz', images)]
    routed = [] if config == BASELINE else ['model.backbone.routed_blocks=(3,)']

    def start(folder, *options):
        return subprocess.Popen([str(word) for word in (
            sys.executable, '-W', 'ignore', ROOT / 'tools/train.py', config, '--data', images, *networks,
            '--work-dir', tmp_path / folder, '--epochs', 12, *options, '--cfg-options',
            'train_dataloader.batch_size=4', 'train_dataloader.num_workers=1', 'default_hooks.checkpoint.interval=1',
            'default_hooks.checkpoint.max_keep_ckpts=1', 'log_level=ERROR', *routed)], env=environment)

    assert start('whole').wait() == 0
    dice = random.Random(0)
    run, kills, seen = start('parts'), 0, set()
    while True:
        # The run removes files while they are looked at, so a new one is known by its name.
        new = set(checkpoint_files(tmp_path / 'parts')) - seen
        seen |= new
        if run.poll() is None and kills < wanted and new:
            time.sleep(dice.random() / 2)
            run.send_signal(signal.SIGKILL)
            kills += run.wait() == -signal.SIGKILL
            run = start('parts', '--resume')
            time.sleep(1)
        elif run.poll() is not None:
            break
        time.sleep(0.01)
    assert (run.returncode, kills) == (0, wanted)
    assert_same_training(tmp_path / 'whole/epoch_12.pth', tmp_path / 'parts/epoch_12.pth')
