"""--profile: a trace and a table of some iterations, through the tool."""

import gzip
import json
import sys

import pytest
from repository import load_tool
from small_runs import BASELINE, small_config, write_images

from sdr_mm.engine.configs import load_config, use_profile
from sdr_mm.engine.profile_hook import ProfileHook
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import read_checkpoint


def steps_of(work_dir):
    """What the profiler calls the iterations that a trace is of."""
    trace, = work_dir.glob('*/profile.pt.trace.json.gz')
    with gzip.open(trace) as file:
        events = json.load(file)['traceEvents']
    names = [str(event.get('name')) for event in events]
    assert 'aten::convolution' in names or 'aten::conv2d' in names
    return sorted({name for name in names if name.startswith('ProfilerStep')})


def test_tool_writes_a_trace_and_a_table_and_trains_on(tmp_path, monkeypatch):
    images = write_images(tmp_path / 'images')
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, (
        BASELINE, '--data', images, '--work-dir', tmp_path / 'run', '--epochs', 2, '--profile', 4, '--cfg-options',
        'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0', 'default_hooks.checkpoint.interval=1',
        'default_hooks.logger.interval=6'))])
    load_tool('train').main()
    # Of iterations 5 to 9 of 12, counted from 0.
    assert steps_of(tmp_path / 'run') == [f'ProfilerStep#{number}' for number in range(4, 9)]
    log, = (tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert 'profile.pt.trace.json.gz. The operators that take longest:' in text and 'Self CPU time total' in text
    assert 'images_per_second: ' in text and 'data_time: ' in text
    assert read_checkpoint(tmp_path / 'run/epoch_2.pth')['meta']['iter'] == 12


@pytest.mark.parametrize('start, recorded', [(4, ['ProfilerStep#4', 'ProfilerStep#5']), (20, [])])
def test_a_training_that_ends_first_leaves_what_there_is_or_says_so(start, recorded, tmp_path):
    cfg = small_config(write_images(tmp_path / 'images'), tmp_path / 'run', epochs=1)
    use_profile(cfg, start)
    train(cfg)
    log, = (tmp_path / 'run').glob('*/*.log')
    assert ('nothing was profiled: the training ended before its iteration 21' in log.read_text()) == (not recorded)
    if recorded:
        assert steps_of(tmp_path / 'run')[:2] == recorded
    else:
        assert not list(tmp_path.rglob('*.gz'))


def test_iterations_are_counted():
    with pytest.raises(InputError, match='at least 1, got 0 and 5'):
        ProfileHook(start=0)
    cfg = load_config(BASELINE)
    use_profile(cfg)
    assert cfg.custom_hooks[-1] == dict(type='sdr_mm.ProfileHook')
