"""The numbers of a training arrive in TensorBoard: its own reader finds what MMEngine's file has."""

import json
import shutil
import sys
from collections import defaultdict

import pytest
from small_runs import small_config, write_clusters, write_images
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdr_mm.engine.training import train
from sdr_mm.engine.visualizers import PACKAGES
from sdr_mm.errors import InputError

BACKENDS = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]


def test_all_numbers_arrive_in_tensorboard(tmp_path):
    images = write_images(tmp_path / 'images')
    clusters = write_clusters(tmp_path / 'clusters.npz', images)
    for number, image in enumerate(sorted(images.iterdir())):
        target = tmp_path / 'task' / 'ab'[number % 2] / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    routing = dict(type='RoutingHook', interval=1, evaluator=dict(
        task=str(tmp_path / 'task'), scorer=dict(k=5), bn=dict(batch_size=8), workers=1))
    cfg = small_config(images, tmp_path / 'run', clusters, hooks=[routing], visualizer__vis_backends=BACKENDS,
                       default_hooks__logger__interval=1)
    train(cfg)

    wanted = defaultdict(dict)
    scalars, = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    for line in map(json.loads, scalars.read_text().splitlines()):
        step = line['step']
        wanted_here = {name: value for name, value in line.items() if name not in ('step', 'iter', 'epoch')}
        for name, value in wanted_here.items():
            wanted[name][step] = value
    events, = (tmp_path / 'run').glob('*/vis_data/events.out.tfevents.*')
    found = EventAccumulator(str(events), size_guidance=dict(scalars=0))
    found.Reload()
    assert {'loss_ssl', 'loss_kd', 'lr', 'network', 'images_per_second', 'routing/task/best', 'routing/task/mean',
            'networks/supernet/effective_rank'} <= set(found.Tags()['scalars'])
    for name, values in wanted.items():
        assert {event.step: event.value for event in found.Scalars(name)} == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize('backend', sorted(PACKAGES))
def test_a_package_that_is_missing_is_named_before_the_training(backend, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[backend], None)
    images = write_images(tmp_path / 'images')
    cfg = small_config(images, tmp_path / 'run', visualizer__vis_backends=[dict(type=backend)])
    with pytest.raises(InputError, match=f"^{backend} needs the package {PACKAGES[backend]}, which is not installed: "):
        train(cfg)
    assert not (tmp_path / 'run').exists()
