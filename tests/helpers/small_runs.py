"""Trainings of a few seconds: 24 small pictures, 6 iterations in an epoch, 4 sub-nets."""

import os
import signal

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from repository import ROOT

from sdr_mm.clusters import Clusters
from sdr_mm.engine.configs import load_config, use_clusters, use_epochs, use_folder
from sdr_mm.images import find_images, fingerprint
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.registry import HOOKS

BASELINE = str(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py')
SDR = str(ROOT / 'configs/small/sdr_simsiam_resnet18_b64-15e_32px.py')
TINY = {
    'train_dataloader.batch_size': 4, 'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
    'default_hooks.checkpoint.interval': 1, 'log_level': 'WARNING'}


@HOOKS.register_module(force=True)
class TellHook(Hook):
    """Sends this process a signal after an iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


def tell(iteration, number=signal.SIGTERM):
    return dict(type='TellHook', number=int(number), iteration=iteration)


def write_images(folder, count=24):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / f'{number:02d}.png')
    return folder


def write_clusters(file, images, shift=0):
    """Six images for each of four sub-nets; another ``shift`` gives other ones."""
    names = find_images(str(images))
    Clusters((np.arange(len(names)) + shift) // 6 % 4, np.eye(4, 5, dtype=np.float32), np.arange(4)[:, None], 4,
             fingerprint(names), 'test').save(file, overwrite=True)
    return file


def small_config(images, work_dir, clusters=None, *, hooks=(), epochs=2, resume=False, **options) -> Config:
    """The baseline, or with ``clusters`` an SDRNet; a ``resume`` of True or the path of a checkpoint."""
    options = {key.replace('__', '.'): value for key, value in options.items()}
    wide = {'model.neck.hid_channels': 32, 'model.neck.out_channels': 32, 'model.head.predictor.in_channels': 32,
            'model.head.predictor.out_channels': 32, 'model.head.predictor.hid_channels': 8}
    routed = {'model.backbone.routed_blocks': (3, )} if clusters else {}
    cfg = load_config(SDR if clusters else BASELINE, {**TINY, **wide, **routed, **options})
    use_epochs(cfg, epochs)
    use_folder(cfg, str(images))
    if clusters:
        use_clusters(cfg, str(clusters))
    cfg.work_dir, cfg.resume = str(work_dir), bool(resume)
    cfg.load_from = None if resume in (True, False) else str(resume)
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    return cfg


def assert_same_training(one, two):
    """Two checkpoints are of the same state, bit for bit."""
    one, two = read_checkpoint(one), read_checkpoint(two)
    assert one['meta']['iter'] == two['meta']['iter'] and one['meta']['epoch'] == two['meta']['epoch']
    assert one['param_schedulers'] == two['param_schedulers']
    for name, tensor in one['state_dict'].items():
        assert torch.equal(tensor, two['state_dict'][name]), name
    for number, state in one['optimizer']['state'].items():
        assert torch.equal(state['momentum_buffer'], two['optimizer']['state'][number]['momentum_buffer']), number
