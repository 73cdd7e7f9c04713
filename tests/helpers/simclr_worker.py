"""One of several processes that share the images of a contrastive loss; writes its loss and the mean gradient."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmpretrain.models import ContrastiveHead

from sdr_mm.models.simclr_sdr import similarities


def step(rank, world):
    """Loss of this rank's share of 8 images, and the gradient of a linear projector, averaged over ranks."""
    head = ContrastiveHead(dict(type='CrossEntropyLoss'), temperature=0.2)
    views = torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(10, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    loss = head.loss(*similarities((views[0, share] @ weight, views[1, share] @ weight)))
    loss.backward()
    gradient = weight.grad.clone()
    if world > 1:
        dist.all_reduce(gradient)
    return loss.detach(), gradient / world


if __name__ == '__main__':
    dist.init_process_group('gloo')
    torch.save(step(dist.get_rank(), dist.get_world_size()), Path(sys.argv[1]) / f'rank{dist.get_rank()}.pt')
    dist.destroy_process_group()
