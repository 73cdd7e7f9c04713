"""Checkpoints are written whole or not at all, and the last good one is never removed."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from mmengine.hooks import Hook
from repository import ROOT
from small_runs import BASELINE, SDR, assert_same_training, small_config, write_clusters, write_images

from sdr_mm.engine.resuming import checkpoint_files
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.registry import HOOKS

LIMIT = 1 << 18
"""Bytes of a file after which the disk fails; a checkpoint has more."""


@HOOKS.register_module()
class FailingDiskHook(Hook):
    """From the second epoch on no file can have more than LIMIT bytes."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / 'images')


def test_checkpoint_that_cannot_be_written_costs_nothing(images, tmp_path):
    cfg = small_config(images, tmp_path / 'run', hooks=[dict(type='FailingDiskHook')],
                       default_hooks__checkpoint__max_keep_ckpts=1)
    try:
        with pytest.raises(InputError, match=f'epoch_2.pth cannot be written .{os.strerror(errno.EFBIG)}'):
            train(cfg)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (tmp_path / 'run/epoch_1.pth').stat().st_size > LIMIT
    assert [file.name for file in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']
    assert read_checkpoint(tmp_path / 'run/epoch_1.pth')['meta']['iter'] == 6
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/epoch_1.pth')


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
