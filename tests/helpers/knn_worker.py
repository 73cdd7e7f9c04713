"""One of several processes that share the work of kNN; writes what it found."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sdr_mm.errors import InputError
from sdr_mm.evaluation import knn_predict


def predictions():
    """For one label each and for several, for fewer test samples than processes, and of broken features."""
    random = np.random.default_rng(4)
    train, test = random.normal(size=(60, 20)), random.normal(size=(37, 20))
    labels = random.integers(4, size=60)
    options = dict(k=[3, 50], across_ranks=True)
    found = [*knn_predict(train, labels, test, chunk=5, **options).values(),
             *knn_predict(train, np.eye(4, dtype=int)[labels], test, **options).values(),
             *knn_predict(train, labels, test[:1], **options).values()]
    test[-1] = np.nan
    try:
        knn_predict(train, labels, test, **options)
        message = ''
    except InputError as error:
        message = str(error)
    return found, message


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    torch.save(predictions(), Path(sys.argv[1]) / f'rank{dist.get_rank()}.pt')
    dist.destroy_process_group()
