"""Features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
import torch
from mmengine import dist
from torch import Tensor, nn

from ..cli import progress
from ..distributed import gather, share
from ..images import IMAGENET, ImageStore, Normalization
from ..images.store import split
from ..models.backbone import pool_features
from .task import Task


@torch.no_grad()
def pooled_features(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Global average of the last feature map.

    Args:
        network (nn.Module): Returns what :func:`pool_features` takes. It runs in evaluation mode, then is in its own.
        batches (Iterable[Tensor]): At least one; normalized images ``(N, 3, H, W)`` on the network's device.

    Returns:
        Tensor: (n, C) float32 on that device, not normalized.

    Raises:
        InputError: If the network returns something else.
    """
    mode = network.training
    network.eval()
    try:
        return torch.cat([pool_features(network(batch)) for batch in batches])
    finally:
        network.train(mode)


def task_features(network: nn.Module, task: Task, *, normalization: Normalization = IMAGENET, resize: int = 256,
                  size: int = 224, batch_size: int = 200, on_error: str = 'stop', workers: int = 2,
                  device: str | torch.device = 'cpu') -> tuple[Tensor, Task]:
    """Features of all images of a task. All ranks must call.

    The batches have the same images whatever the number of ranks, which take turns; so the features are
    the same bit for bit.

    Args:
        network (nn.Module): As for :func:`pooled_features`. It is moved to ``device``.
        task (Task): The task.
        normalization (Normalization): Of the network's input. Defaults to ImageNet's.
        resize (int): Short side of the images, in pixels. Defaults to 256.
        size (int): Side of the center crop, in pixels. Defaults to 224.
        batch_size (int): Most images in a batch. Defaults to 200.
        on_error (str): ``'stop'`` at an image that cannot be decoded, or ``'skip'`` it. Defaults to 'stop'.
        workers (int): Threads that decode, on each rank. Defaults to 2.
        device (str | torch.device): Defaults to 'cpu'.

    Returns:
        tuple: Features (n, C) float32 on ``device``, not normalized, on all ranks, and the task of their images,
        without those that cannot be decoded.

    Raises:
        InputError: On all ranks, if images cannot be decoded, ``batch_size`` is less than 1, or the network returns no
            features.
    """
    # Nothing is kept: each image is used once.
    store = ImageStore(task.paths, resize=resize, size=size, on_error=on_error, workers=workers, memory=0,
                       disk=0)
    mine = share(split(np.arange(len(store)), batch_size))
    found = torch.empty(0, 0, device=device)

    def compute() -> tuple[int, list[int]]:
        nonlocal found
        batches = (batch for part in progress(mine, desc=f'features of {task.name}')
                   for batch in store.batches(part, batch_size, device=device, **normalization._asdict()))
        first = next(batches, None)
        # With few batches, or damaged images only, a rank may have none.
        if first is not None:
            found = pooled_features(network.to(device), chain([first], batches))
        return found.shape[1], sorted(store.failed)

    ranks = gather(compute)
    failed = sorted({number for _, numbers in ranks for number in numbers})
    rest = task.without(failed)
    # Each row gets the features of one rank, and -0, to which anything adds exactly, from the others.
    features = torch.full((len(store), max(width for width, _ in ranks)), -0.0, device=device)
    if len(found):
        numbers = np.concatenate(mine)
        features[torch.from_numpy(numbers[~np.isin(numbers, failed)]).to(device)] = found
    dist.all_reduce(features)
    if failed:
        features = features[torch.from_numpy(np.setdiff1d(np.arange(len(store)), failed)).to(device)]
    return features, rest
