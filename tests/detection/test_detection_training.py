"""Detectors trained by the tools, ours and MMDetection's: any folder of VOC format, resuming, several processes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detection_data import voc_folder
from repository import ROOT, load_tool

from projects.paper_tables import __main__ as tool
from projects.paper_tables.detection import TEST2007, read_run
from projects.paper_tables.paper import DETECTION_ITERATIONS
from projects.real_data import prepare
from sdr_mm.engine.configs import load_config, use_folder
from sdr_mm.errors import InputError, NotFiniteError
from sdr_mm.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.ops

AERIAL = ROOT / 'configs/detection/faster-rcnn_resnet18_fpn_aerial_400px.py'
VOC = ROOT / 'configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py'
COCO = ROOT / 'configs/detection/mask-rcnn_sdr_fpn_1x_coco.py'
# Pictures of 64 pixels, four iterations.
TINY = [
    'model.backbone.init_cfg=None', 'train_dataloader.batch_size=2', 'train_cfg.max_iters=4',
    'train_cfg.val_interval=4', 'train_dataloader.dataset.pipeline.2.scales=[(128,64)]',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)', 'val_dataloader.dataset.pipeline.1.scale=(128,64)',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.checkpoint.max_keep_ckpts=-1', 'default_hooks.logger.interval=1',
    *(f'{name}_dataloader.{option}' for name in ('train', 'val', 'test')
      for option in ('num_workers=0', 'persistent_workers=False'))
]


def main(name, *argv):
    """Runs a tool in a process of its own, as a person does; what it printed."""
    tool = name if os.path.isabs(name) else str(ROOT / 'tools' / name)
    result = subprocess.run([sys.executable, '-W', 'ignore', tool, *map(str, argv)], capture_output=True, text=True,
                            env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def train(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, argv)])
    load_tool('train').main()


@pytest.fixture(scope='module')
def mine(tmp_path_factory):
    """A config for a folder of one's own: a copy of the small one with two lines changed."""
    folder = tmp_path_factory.mktemp('mine')
    data = voc_folder(folder / 'data')
    text = AERIAL.read_text()
    text, roots = re.subn(r'(?m)^data_root = .*$', f"data_root = '{data}'", text)
    text, classes = re.subn(r'(?m)^classes = .*$', "classes = ('red', 'blue')", text)
    assert (roots, classes) == (1, 1)
    config = folder / 'mine.py'
    config.write_text(text)
    return config


@pytest.fixture(scope='module')
def run(mine):
    """Four iterations of it, and the numbers that the validation after them gave."""
    patch = pytest.MonkeyPatch()
    train(patch, mine, '--work-dir', mine.parent / 'run', '--cfg-options', *TINY)
    patch.undo()
    return mine.parent / 'run'


def logged(folder):
    lines = [line for file in sorted(folder.glob('*/vis_data/scalars.json')) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def test_any_voc_folder_trains_through_two_lines_of_a_config(run):
    state = read_checkpoint(run / 'iter_4.pth')['state_dict']
    assert len(state['roi_head.bbox_head.fc_cls.weight']) == 3  # two classes and the background
    assert {'pascal_voc/AP', 'pascal_voc/AP50', 'pascal_voc/AP75'} <= set(logged(run)[-1])
    assert '| blue  |       2 |' in next(run.glob('*/*.log')).read_text()


def test_interrupted_run_resumes(run, mine, tmp_path, monkeypatch):
    for name in ('run.json', 'iter_2.pth'):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    train(monkeypatch, mine, '--work-dir', tmp_path, '--resume', tmp_path / 'iter_2.pth', '--cfg-options', *TINY)
    whole, resumed = (read_checkpoint(folder / 'iter_4.pth') for folder in (run, tmp_path))
    assert resumed['meta']['iter'] == 4
    assert resumed['param_schedulers'] == whole['param_schedulers']
    assert [line['step'] for line in logged(tmp_path) if 'loss' in line] == [3, 4]


def test_a_detector_that_diverges_stops_before_it_saves_that(mine, tmp_path, monkeypatch):
    with pytest.raises(NotFiniteError, match=r'^FasterRCNN has diverged at iteration \d: .*loss'):
        train(monkeypatch, mine, '--work-dir', tmp_path, '--cfg-options', *TINY, 'optim_wrapper.optimizer.lr=1e10',
              'param_scheduler.0.start_factor=1')
    for file in tmp_path.glob('*.pth'):
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(file)['state_dict'].values())


@pytest.mark.slow
def test_trained_detector_is_scored_as_in_training(run, mine, tmp_path):
    out = tmp_path / 'scores.json'
    printed = main('test.py', mine, run / 'iter_4.pth', '--work-dir', tmp_path, '--out', out, '--cfg-options', *TINY)
    expected = {name: value for name, value in logged(run)[-1].items() if name.startswith('pascal_voc')}
    assert json.loads(out.read_text()) == pytest.approx(expected, abs=1e-3)
    assert re.search(r'^AP \d+\.\d\d  AP50 \d+\.\d\d  AP75 \d+\.\d\d$', printed, re.M)


@pytest.mark.slow
def test_mmdetections_own_tool_trains_the_config(mine, tmp_path):
    """What ``mim train mmdet CONFIG`` runs."""
    import mmdet
    tool = Path(mmdet.__file__).parent / '.mim/tools/train.py'
    main(str(tool), mine, '--work-dir', tmp_path, '--cfg-options', *TINY)
    assert read_checkpoint(tmp_path / 'iter_4.pth')['meta']['iter'] == 4


@pytest.mark.slow
def test_two_processes_train_one_detector(mine, tmp_path):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = ['bash', str(ROOT / 'tools/dist_train.sh'), str(mine), '2', '--work-dir', str(tmp_path), '--cfg-options',
               *TINY, 'train_cfg.max_iters=2']
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env={
        **os.environ, 'PORT': str(port), 'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'ignore',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'})
    assert result.returncode == 0, result.stderr[-3000:]
    assert read_checkpoint(tmp_path / 'iter_2.pth')['meta']['iter'] == 2


@pytest.mark.slow
def test_loss_falls_on_real_tiles(tmp_path, monkeypatch):
    """25 iterations on two aerial photos of trees, which are fetched once."""
    tiles, = prepare(names=['aerial_trees']).folders.values()
    train(monkeypatch, AERIAL, '--data', tiles, '--work-dir', tmp_path, '--cfg-options',
          *(option for option in TINY if 'pipeline' not in option and 'max_iters' not in option),
          'train_dataloader.dataset.indices=2', 'train_cfg.max_iters=25', 'train_cfg.val_interval=1000',
          'optim_wrapper.optimizer.lr=0.05', 'param_scheduler.0.end=5', 'log_processor.window_size=1')
    lines = [line for line in logged(tmp_path) if 'loss' in line]
    assert [line['step'] for line in lines] == list(range(1, 26))
    # The whole loss by less, because boxes of more trees enter it as more of them are proposed.
    for name, factor in (('loss', 0.95), ('loss_rpn_cls', 0.95), ('loss_cls', 0.9)):
        losses = [line[name] for line in lines]
        assert np.mean(losses[-8:]) < factor * np.mean(losses[:8]), name


def test_data_option_is_the_data_root_of_a_detector(tmp_path):
    cfg = load_config(str(VOC))
    use_folder(cfg, 'elsewhere')
    parts = [*cfg.train_dataloader.dataset.datasets, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset]
    assert [part.data_root for part in parts] == ['elsewhere'] * 4
    with pytest.raises(InputError, match='--data elsewhere has no use: .* not trained on a folder of VOC format'):
        use_folder(load_config(str(COCO)), 'elsewhere')


def test_options_of_pre_training_are_refused(mine, monkeypatch):
    with pytest.raises(InputError, match='--on-error is for pre-training'):
        train(monkeypatch, mine, '--on-error', 'skip')


def test_folder_without_lists_ends_the_tool_with_one_line(mine, tmp_path, monkeypatch):
    (tmp_path / 'JPEGImages').mkdir()
    with pytest.raises(InputError, match='there is no file .*ImageSets/Main/trainval.txt'):
        train(monkeypatch, mine, '--data', tmp_path, '--work-dir', tmp_path / 'run', '--cfg-options', *TINY)


@pytest.mark.slow
def test_the_papers_table_reads_what_a_training_and_its_test_leave(run, mine, tmp_path):
    scores = tmp_path / 'scores.json'
    main('test.py', mine, run / 'iter_4.pth', '--work-dir', tmp_path / 'test', '--out', scores, '--cfg-options', *TINY)
    tool.main(['--table', '2', '--networks', f'SimSiam={run}', f'tested={scores}', '--out', str(tmp_path / 'table')])
    trained, tested = json.loads((tmp_path / 'table' / 'table.json').read_text())['rows']
    for name in ('AP', 'AP50', 'AP75'):
        assert trained['scores'][name]['ours'] == logged(run)[-1][f'pascal_voc/{name}']
        assert tested['scores'][name]['ours'] == pytest.approx(trained['scores'][name]['ours'], abs=1e-3)
    assert trained['source'][0]['iterations'] == 4
    assert not trained['compared']  # It is no VOC, whatever it is called.
    longer = tmp_path / 'longer'
    for file in run.glob('*/vis_data/*'):
        (longer / file.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
        (longer / file.relative_to(run)).write_text(file.read_text().replace('max_iters=4', 'max_iters=5'))
    with pytest.raises(InputError, match='no AP after iteration 5 and ends at 4'):
        read_run(str(longer))


@pytest.mark.parametrize('name', ['sdr_fpn', 'sdr-path_fpn', 'sdr_c4'])
def test_the_configs_of_the_protocol_are_compared_with_the_paper(name, tmp_path):
    cfg = load_config(str(VOC.with_name(f'faster-rcnn_{name}_24k_voc0712.py')))
    folder = tmp_path / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    cfg.dump(folder / 'config.py')  # As MMEngine does.
    # The log must name the last iteration, of which it is the interval that decides.
    assert cfg.train_cfg.max_iters % cfg.default_hooks.logger.interval == 0
    lines = [{'iter': 24000, 'step': 24000}, {'pascal_voc/AP': 50.0, 'pascal_voc/AP50': 80.0, 'pascal_voc/AP75': 55.0}]
    (folder / 'scalars.json').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    result = read_run(str(tmp_path))
    assert result.iterations == DETECTION_ITERATIONS and result.images == TEST2007
