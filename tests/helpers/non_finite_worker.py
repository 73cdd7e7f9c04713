"""One of several processes of which one meets an image that is not finite; writes what each ended with."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from sdr_mm.models.sliced import ChannelLayout, SlicedBatchNorm
from sdr_mm.registry import DATASETS

NAN = float('nan')


class Rows(Dataset):
    """32 rows of 3 numbers, of which those in ``spoiled`` hold ``value``."""

    def __init__(self, spoiled=(), value=NAN, scale=1.0):
        self.rows = torch.randn(32, 3, generator=torch.Generator().manual_seed(0)) * scale
        self.rows[list(spoiled)] = value

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return dict(inputs=self.rows[index])


class Regression(BaseModel):
    """A norm of each kind and a linear layer."""

    def __init__(self, factor=1.0):
        super().__init__()
        torch.manual_seed(1)
        self.factor = factor
        self.layers = nn.Sequential(SlicedBatchNorm(ChannelLayout(3)), nn.Linear(3, 4), nn.BatchNorm1d(4),
                                    nn.Linear(4, 1))

    def forward(self, inputs, mode):
        return dict(loss=(self.layers(torch.stack(inputs)) - 1).square().mean() * self.factor)


def make_runner(folder, dataset, hook, launcher='none', optim_wrapper=None, lr=0.1, epochs=1, **options):
    """Eight iterations an epoch of 4 rows on all ranks together, in order, each followed by a checkpoint."""
    DATASETS.register_module(module=Rows, force=True)
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    return Runner(
        model=Regression(), work_dir=str(folder), experiment_name=str(folder), default_scope='sdr_mm',
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        train_dataloader=dict(batch_size=4 // ranks, dataset=dataset,
                              sampler=dict(type='DefaultSampler', shuffle=False)),
        optim_wrapper=optim_wrapper or dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.1)),
        custom_hooks=[dict(type='NonFiniteHook', **hook)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)),
        log_level='ERROR', launcher=launcher, randomness=dict(seed=0), **options)


def state(runner):
    """Weights, statistics and momentum, as arrays."""
    model = runner.model.module if hasattr(runner.model, 'module') else runner.model
    optimizer = runner.optim_wrapper.optimizer
    arrays = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    for index, parameter in enumerate(model.parameters()):
        buffer = optimizer.state.get(parameter, {}).get('momentum_buffer')
        if buffer is not None:
            arrays[f'momentum {index}'] = buffer.numpy().copy()
    return arrays


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    folder, rank = Path(sys.argv[1]), dist.get_rank()
    # Row 9 is in the third iteration, on rank 1 of 2.
    runner = make_runner(folder / 'run', Rows([9]), dict(action='skip'), 'pytorch',
                         cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)))
    runner.train()
    np.savez(folder / f'rank{rank}.npz', **state(runner))
