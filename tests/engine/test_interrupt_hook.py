"""Signals in the middle of an epoch: what is saved, and that the rest of the run is the same, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from repository import ROOT
from small_runs import BASELINE, assert_same_training, small_config, tell, write_clusters, write_images

from sdr_mm.engine.training import train
from sdr_mm.errors import RESUME_STATUS, Interrupted


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    images = write_images(folder / 'images')
    return dict(images=images, clusters=write_clusters(folder / 'clusters.npz', images))


@pytest.mark.parametrize('kind', ['baseline', 'sdr'])
def test_run_that_was_told_to_stop_twice_ends_as_if_it_had_not_been(kind, data, tmp_path):
    arguments = [data['images'], *([data['clusters']] if kind == 'sdr' else [])]

    def run(folder, *hooks, resume=False):
        images, *clusters = arguments
        train(small_config(images, tmp_path / folder, *clusters, hooks=hooks, resume=resume), guard=True)

    run('whole')
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r'SIGTERM.*iteration 8 is in .*interrupted\.pth.*--resume'):
        run('parts', tell(8))
    assert signal.getsignal(signal.SIGTERM) is before
    # The second time at the last iteration of the epoch, whose end is still to come.
    with pytest.raises(Interrupted, match='SIGINT'):
        run('parts', tell(12, signal.SIGINT), resume=True)
    run('parts', resume=True)
    assert_same_training(tmp_path / 'whole/epoch_2.pth', tmp_path / 'parts/epoch_2.pth')
    assert not (tmp_path / 'parts/interrupted.pth').exists(), 'it is of no use any more'


def test_loop_that_restarts_its_epochs_saves_no_half_of_one(data, tmp_path):
    options = dict(train_cfg__type='EpochBasedTrainLoop')
    with pytest.raises(Interrupted, match='EpochBasedTrainLoop starts an epoch from its first image'):
        train(small_config(data['images'], tmp_path, hooks=[tell(8)], **options), guard=True)
    assert [file.name for file in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    train(small_config(data['images'], tmp_path, resume=True, **options), guard=True)
    assert (tmp_path / 'epoch_2.pth').exists()


def test_run_that_was_stopped_before_its_first_checkpoint_begins_again(data, tmp_path):
    options = dict(train_cfg__type='EpochBasedTrainLoop')
    with pytest.raises(Interrupted):
        train(small_config(data['images'], tmp_path, hooks=[tell(2)], **options), guard=True)
    assert not list(tmp_path.glob('*.pth'))
    train(small_config(data['images'], tmp_path, resume=True, epochs=1, **options), guard=True)
    assert (tmp_path / 'epoch_1.pth').exists()


@contextmanager
def running(data, work_dir, *options, workers=2, config=BASELINE):
    """The tool in a process group of its own, of which nothing is left afterwards."""
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools/train.py'), str(config), '--data', str(data),
               '--work-dir', str(work_dir), *options, '--cfg-options', 'train_dataloader.batch_size=4',
               f'train_dataloader.num_workers={workers}', f'train_dataloader.persistent_workers={workers > 0}',
               'default_hooks.checkpoint.interval=100', 'default_hooks.logger.interval=1', 'log_level=WARNING']
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests/helpers', 'OMP_NUM_THREADS': '1'}
    run = subprocess.Popen(command, env=environment, text=True,
                           stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_tool_and_its_workers_survive_the_signal_of_a_whole_group(number, data, tmp_path):
    """What Ctrl-C in a terminal and Slurm do."""
    with running(data['images'], tmp_path / 'run', '--epochs', '400') as run:
        wait_for(lambda: list((tmp_path / 'run').glob('*/vis_data/scalars.json')), run)
        os.killpg(run.pid, number)
        _, errors = run.communicate(timeout=200)
        assert run.returncode == RESUME_STATUS == 75, errors
        with pytest.raises(ProcessLookupError):
            os.killpg(run.pid, 0)  # The workers have gone too.
    line = errors.strip().splitlines()[-1]
    assert line.startswith(f'stopped by {number.name}') and 'continue with --resume' in line
    assert 'Traceback' not in errors
    assert (tmp_path / 'run/interrupted.pth').exists()


@pytest.mark.slow
def test_second_signal_ends_the_tool_at_once(data, tmp_path):
    """Nothing waits for it: here an iteration that never ends."""
    (tmp_path / 'waits.py').write_text(f"""
_base_ = {BASELINE!r}
custom_imports = dict(imports=['sdr_mm', 'accidents'])
custom_hooks = [dict(type='FixedLRHook'), dict(type='AccidentHook', kind='waits', iteration=1)]
""")
    with running(data['images'], tmp_path / 'run', config=tmp_path / 'waits.py', workers=0) as run:
        wait_for((tmp_path / 'run/waiting').exists, run)
        run.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == -signal.SIGTERM


@pytest.mark.slow
def test_training_that_fails_ends_with_its_workers(data, tmp_path):
    """They ignore the SIGTERM by which Python asks them to end; it would wait for them for ever."""
    (tmp_path / 'fails.py').write_text(f"""
_base_ = {BASELINE!r}
custom_imports = dict(imports=['sdr_mm', 'accidents'])
custom_hooks = [dict(type='FixedLRHook'), dict(type='AccidentHook', kind='fails', iteration=3)]
""")
    with running(data['images'], tmp_path / 'run', config=tmp_path / 'fails.py') as run:
        _, errors = run.communicate(timeout=200)
    assert run.returncode == 1 and 'an accident' in errors


def wait_for(condition, run):
    while not condition():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
