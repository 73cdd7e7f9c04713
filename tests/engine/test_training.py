"""Running a training: the lengths that must fit, options that change nothing, DDP against one plain process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from PIL import Image
from repository import ROOT
from small_runs import small_config, tell, write_images

from sdr_mm.engine.checkpoint_hook import WholeCheckpointHook
from sdr_mm.engine.configs import check_epochs, load_config, use_amp, use_epochs, use_launcher
from sdr_mm.engine.runner import sync_on_cpus
from sdr_mm.engine.training import build_runner, train
from sdr_mm.errors import InputError, Interrupted
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.models.sliced import SlicedBatchNorm
from sdr_mm.registry import HOOKS

BASELINE = str(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py')


def scheduled(*schedulers, epochs=20):
    return Config(dict(train_cfg=dict(max_epochs=epochs),
                       param_scheduler=[dict(by_epoch=True, **scheduler) for scheduler in schedulers]))


WARM_UP = dict(type='LinearLR', end=4)
COSINE = dict(type='CosineAnnealingLR', begin=4, T_max=16, end=20)
STEPS = dict(type='MultiStepLR', milestones=[12, 16])


def test_one_number_moves_the_training_and_its_learning_rates():
    cfg = scheduled(WARM_UP, COSINE, STEPS)
    use_epochs(cfg, 8)
    assert cfg.train_cfg.max_epochs == 8
    assert [dict(s) for s in cfg.param_scheduler] == [
        dict(WARM_UP, by_epoch=True), dict(COSINE, by_epoch=True, T_max=4, end=8), dict(STEPS, by_epoch=True)]
    assert check_epochs(cfg) is None
    with pytest.raises(InputError, match='--epochs 4 is too few: CosineAnnealingLR begins after 4'):
        use_epochs(cfg, 4)
    with pytest.raises(InputError, match='trains by iterations'):
        use_epochs(Config(dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=10))), 4)


@pytest.mark.parametrize('schedulers, end', [
    ([WARM_UP, COSINE], None), ([WARM_UP], None), ([STEPS], None), ([dict(type='CosineAnnealingLR', T_max=15)], 15),
    ([WARM_UP, dict(COSINE, T_max=30, end=34)], 34), ([dict(type='PolyLR', end=25)], 25)])
def test_a_learning_rate_of_another_length_is_named(schedulers, end):
    conflict = check_epochs(scheduled(*schedulers))
    assert conflict is None if end is None else f'ends after 20 epochs and the {schedulers[-1]["type"]} after {end}' \
        in conflict


@pytest.mark.parametrize('config', ['simsiam.py', 'sdr_simsiam.py', 'small/simsiam_resnet18_b64-15e_32px.py',
                                    'small/sdr_simsiam_resnet18_b64-15e_32px.py'])
def test_epochs_moves_all_of_our_configs(config):
    cfg = load_config(str(ROOT / 'configs' / config))
    assert check_epochs(cfg) is None
    use_epochs(cfg, 7)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == cfg.param_scheduler[0].end == 7


def test_an_option_that_would_change_nothing_is_refused():
    with pytest.raises(InputError, match='epochs would change nothing.*give --epochs N'):
        load_config(BASELINE, {'epochs': 3})
    with pytest.raises(InputError, match='optimizer.lr would change nothing.*did you mean optim_wrapper.optimizer.lr'):
        load_config(BASELINE, {'optimizer.lr': 3})
    with pytest.raises(InputError, match='nothing reads brand_new'):
        load_config(BASELINE, {'brand_new': 1})
    assert load_config(BASELINE, {'evaluation.k': 3}).evaluation.k == 3


@pytest.mark.parametrize('asked, world, launcher', [
    ('none', None, 'none'), ('none', '1', 'none'), ('none', '2', 'pytorch'), ('slurm', '2', 'slurm'),
    ('pytorch', '1', 'pytorch')])
def test_processes_of_torchrun_are_joined_unasked(asked, world, launcher, monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    if world:
        monkeypatch.setenv('WORLD_SIZE', world)
    cfg = Config(dict())
    use_launcher(cfg, asked)
    assert cfg.launcher == launcher


@pytest.mark.parametrize('options, scale', [
    ({}, 'dynamic'), ({'optim_wrapper.dtype': 'float16'}, 'dynamic'),
    ({'optim_wrapper.dtype': 'bfloat16'}, dict(enabled=False)),
    ({'optim_wrapper.dtype': 'bfloat16', 'optim_wrapper.loss_scale': 8.0}, 8.0)])
def test_bfloat16_scales_no_loss(options, scale, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = load_config(BASELINE, options)
    use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == scale


@pytest.mark.parametrize('channels_last', [True, False])
def test_backbone_computes_in_channels_last_format_if_the_config_says_so(channels_last, tmp_path):
    cfg = small_config(write_images(tmp_path / 'images'), tmp_path / 'run', channels_last=channels_last)
    backbone = build_runner(cfg).model.backbone
    formats = []
    backbone.layer2.register_forward_hook(lambda module, inputs, output: formats.append(
        [part.is_contiguous(memory_format=torch.channels_last) for part in (inputs[0], output)]))
    backbone(torch.randn(2, 3, 32, 32))
    assert formats == [[channels_last] * 2]
    assert backbone.layer2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last) == channels_last


class OwnHook(CheckpointHook):
    pass


def test_a_checkpoint_hook_of_ones_own_is_left_alone(tmp_path):
    HOOKS.register_module(module=OwnHook, force=True)
    images = write_images(tmp_path / 'images')
    for kind, expected in (('sdr_mm.OwnHook', OwnHook), ('CheckpointHook', WholeCheckpointHook)):
        cfg = small_config(images, tmp_path / kind, default_hooks__checkpoint__type=kind)
        assert [type(hook) for hook in build_runner(cfg)._hooks if isinstance(hook, CheckpointHook)] == [expected]


@pytest.mark.slow
def test_one_rank_of_torchrun_trains_what_a_plain_process_trains(tmp_path):
    """Channels-last weights before DDP wraps them: else it permutes the gradients of the first step after a start."""
    random = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for number in range(48):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f'images/{number}.png')
    assert load_config(BASELINE).channels_last
    arguments = [BASELINE, '--data', tmp_path / 'images', '--epochs', 1, '--cfg-options', 'log_level=ERROR',
                 'train_dataloader.batch_size=16', 'train_dataloader.num_workers=0',
                 'train_dataloader.persistent_workers=False', 'default_hooks.checkpoint.interval=1',
                 'model.backbone.zero_init_residual=True']
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, 'PORT': port, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT),
                   'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    weights = []
    for name, start in dict(plain=[sys.executable, ROOT / 'tools/train.py', BASELINE],
                            torchrun=['bash', ROOT / 'tools/dist_train.sh', BASELINE, 1]).items():
        command = [*start, *arguments[1:3], '--work-dir', tmp_path / name, *arguments[3:]]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        checkpoint = read_checkpoint(tmp_path / name / 'epoch_1.pth')
        assert checkpoint['meta']['iter'] == 3
        weights.append(checkpoint['state_dict'])
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6, msg=name)


def test_synchronized_norms_on_cpus_are_torchs_under_the_same_names():
    torch.manual_seed(0)

    def make():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(4, eps=1e-3)),
                                   torch.nn.Flatten(), torch.nn.Linear(36, 5), torch.nn.BatchNorm1d(5, affine=False))

    plain = make()
    torch.nn.init.normal_(plain[1][0].weight)
    synchronized = make()
    synchronized.load_state_dict(plain.state_dict())
    synchronized[1][0].bias.requires_grad = False
    synchronized = torch.nn.SyncBatchNorm.convert_sync_batchnorm(synchronized)
    sync_on_cpus(synchronized)
    assert isinstance(synchronized[1][0], SlicedBatchNorm) and not synchronized[1][0].bias.requires_grad
    assert synchronized[1][0].weight.requires_grad
    images = torch.randn(8, 3, 5, 5)
    torch.testing.assert_close(synchronized(images), plain(images))
    state = synchronized.state_dict()
    assert list(state) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(state[name], value, msg=name)


@pytest.mark.parametrize('end', ['well', 'stopped', 'refused'])
def test_process_group_that_a_training_joins_is_left_at_its_end(end, tmp_path, monkeypatch):
    """Its threads would outlive the interpreter, which aborts the process of a finished job now and then."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    group = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr('sdr_mm.engine.skip_count_hook.SkipCountHook.before_train_epoch',
                        lambda self, runner: joined.append(torch.distributed.is_initialized()))
    cfg = small_config(write_images(tmp_path / 'images'), tmp_path / 'run', epochs=1,
                       hooks=[tell(2)] if end == 'stopped' else [],
                       train_dataloader__batch_size=99 if end == 'refused' else 4)
    cfg.launcher = 'pytorch'
    if end == 'well':
        train(cfg)
    else:
        with pytest.raises(Interrupted if end == 'stopped' else InputError):
            train(cfg, guard=True)
    assert joined == [True] * (end != 'refused')
    assert not torch.distributed.is_initialized()
