"""Images a second in the log, by the clock of the same log."""

import json
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from small_runs import small_config, write_clusters, write_images

from sdr_mm.engine.throughput_hook import ThroughputHook
from sdr_mm.engine.training import train


def logged(work_dir):
    file, = work_dir.glob('*/vis_data/scalars.json')
    return [line for line in map(json.loads, file.read_text().splitlines()) if 'images_per_second' in line]


@pytest.mark.parametrize('joint', [False, True])
def test_log_has_the_images_of_all_networks_by_its_own_time(joint, tmp_path):
    images = write_images(tmp_path / 'images')
    clusters = write_clusters(tmp_path / 'clusters.npz', images)
    # The last iterations of two epochs of six; phase 1, with sub-nets, from the second epoch on.
    train(small_config(images, tmp_path / 'run', clusters, default_hooks__logger__interval=3,
                       log_processor__window_size=3, custom_hooks__0__joint=joint))
    lines = logged(tmp_path / 'run')
    assert [line['iter'] for line in lines] == [3, 6, 9, 12]
    for line in lines:
        images_per_step = 8 if joint and line['iter'] > 6 else 4
        assert line['images_per_second'] == pytest.approx(images_per_step / line['time'], rel=1e-6)
        assert 0 < line['data_time'] < line['time']


def test_images_of_all_ranks_are_divided_by_the_time_of_their_iterations():
    hub = MessageHub('throughput')
    runner = SimpleNamespace(world_size=4, message_hub=hub, log_processor=SimpleNamespace(window_size=2))
    hook = ThroughputHook()
    hook.before_train(runner)
    rates = []
    for count, seconds in ((3, 9.0), (10, 1.0), (20, 0.5)):
        hub.update_scalar('train/time', seconds)
        hook.after_train_iter(runner, 0, dict(data_samples=[None] * count))
        rates.append(hub.get_scalar('train/images_per_second').current())
    # Not the mean of the rates: 4 × 3 / 9, then 4 × 13 / 10, then 4 × 30 / 1.5.
    assert rates == pytest.approx([12 / 9, 52 / 10, 120 / 1.5])
    hook.after_train_iter(runner, 0, [1, 2])
    assert len(hub.get_scalar('train/images_per_second').data[0]) == 3, 'of a batch without samples nothing is known'
