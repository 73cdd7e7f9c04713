"""One of several processes that take features of a task together; writes what it found."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmpretrain.models.backbones import ResNet

from sdr_mm.errors import InputError
from sdr_mm.evaluation import Task, task_features
from sdr_mm.images import Normalization


def network():
    torch.manual_seed(2)
    backbone = ResNet(depth=18, stem_channels=8, base_channels=8)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
    return backbone


def features(root):
    """Of a sound task, in many batches and in one, and of one with damaged images, skipped and not."""
    options = dict(normalization=Normalization((120., 115., 100.), (60., 55., 50.)), resize=32, size=32, workers=1)
    sound, damaged = Task.from_folder(root / 'sound'), Task.from_folder(root / 'damaged')
    found = [task_features(network(), sound, batch_size=size, **options)[0] for size in (3, 100)]
    values, rest = task_features(network(), damaged, batch_size=4, on_error='skip', **options)
    try:
        task_features(network(), damaged, batch_size=4, **options)
        message = ''
    except InputError as error:
        message = str(error)
    return dict(features=[*found, values], left=[path.name for path in rest.paths], message=message)


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    folder = Path(sys.argv[1])
    torch.save(features(folder), folder / f'rank{dist.get_rank()}.pt')
    dist.destroy_process_group()
