"""Training batches that are a function of the seed and their number, so that a run goes on anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset, Sampler

from ..registry import DATA_SAMPLERS, DATASETS

Numbered = tuple[int, int]
"""Index of an image, and its place in the whole sequence of images that a run sees."""


def seed_everything(*key: int) -> None:
    """Seeds the generators of Python, NumPy and torch, of all devices, with a hash of ``key``."""
    state = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A data set whose augmentations depend on the place of an image in the sequence, and on nothing else.

    So they are the same for any number of loader processes, and after a resume. It is indexed by what
    :class:`NumberedBatches` yields.

    Args:
        dataset (dict | Dataset): The data set, of any OpenMMLab library.
        seed (int): Defaults to 0.
    """

    def __init__(self, dataset: dict[str, Any] | Dataset, seed: int = 0) -> None:
        self.dataset: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed

    @property
    def metainfo(self) -> dict[str, Any]:
        """Of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Lists the images."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Annotation of an image, for samplers that ask for its shape."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def __getitem__(self, numbered: Numbered) -> Any:
        """The image, prepared."""
        index, place = numbered
        seed_everything(self.seed, 0, place)
        return self.dataset[index]


@DATA_SAMPLERS.register_module()
class NumberedBatches:
    """Numbers the images of a batch sampler, and starts at any batch without loading those before.

    MMEngine loads and throws away all earlier batches where the batch sampler is not PyTorch's own, as with
    MMDetection's ``AspectRatioBatchSampler``; here it is asked for their indices only.

    Args:
        sampler (Sampler): Yields indices without end.
        batch_size (int): Images in a batch.
        batches (dict, optional): Config of the batch sampler. Defaults to None, PyTorch's own.
    """

    def __init__(self, sampler: Sampler, batch_size: int, batches: dict[str, Any] | None = None) -> None:
        self.sampler, self.batch_size = sampler, batch_size
        self.batches: Any = BatchSampler(sampler, batch_size, drop_last=True) if batches is None else (
            DATA_SAMPLERS.build(batches, default_args=dict(sampler=sampler, batch_size=batch_size)))
        self.first = 0

    def start(self, batch: int) -> None:
        """Lets the next iteration begin with this batch. To be called once, before it."""
        self.first = batch

    def __len__(self) -> int:
        """Batches of one pass over the images."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Numbered]]:
        """The batches, without end."""
        for number, batch in enumerate(islice(self.batches, self.first, None), self.first):
            yield [(index, number * self.batch_size + place) for place, index in enumerate(batch)]
