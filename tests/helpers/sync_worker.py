"""One of several processes that train a synchronized norm together; writes what it found."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from sdr_mm.models.sliced import ChannelLayout, SlicedBatchNorm

ROUTED = ChannelLayout(3, 2, 4, 0)


def train(rank, world):
    """One training step of a synchronized layer on this rank's share of 6 images."""
    torch.manual_seed(0)
    layer = SlicedBatchNorm(ROUTED, sync=True)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    image = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(1))[rank::world].requires_grad_()
    target = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(2))[rank::world]
    wide = torch.randn(6, 11, 3, 3, generator=torch.Generator().manual_seed(3))[rank::world]
    out = layer(image, (1, ))
    (out * target).sum().backward()
    layer(wide)
    grad = layer.weight.grad.clone()
    if world > 1:
        dist.all_reduce(grad)
    return out.detach(), image.grad, grad, layer.running_mean, layer.running_var


if __name__ == '__main__':
    dist.init_process_group('gloo')
    torch.save(train(dist.get_rank(), dist.get_world_size()), Path(sys.argv[1]) / f'rank{dist.get_rank()}.pt')
    dist.destroy_process_group()
