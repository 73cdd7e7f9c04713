"""Features and clusters by the tools: what the tests of one process and the ranks of several have in common."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from repository import load_tool

from sdr_mm.clustering.feature_matrix import FeatureMatrix
from sdr_mm.clustering.features import Features
from sdr_mm.clustering.partition import Partition
from sdr_mm.clustering.sinkhorn import sinkhorn_clustering
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError

SIZES = ['--resize', '36', '--size', '32', '--workers', '0', '--batch-size', '5', '--device', 'cpu']
METHODS = ('sinkhorn', 'kmeans', 'random')

cluster_tool = load_tool('cluster')
extract_tool = load_tool('extract_features')


def extract(root: Path, *more: str, data: str = 'images', out: str | Path = 'features') -> Features:
    """Features of ``root/data`` by the network ``root/net.pth``."""
    checkpoint = (root / 'net.pth').resolve()
    extract_tool.main([str(checkpoint), '--data', str(root / data), '--out', str(root / out), *SIZES, *more])
    return Features.load(root / out)


def divide(root: Path, out: Path, *more: str, features: str | Path = 'features') -> Clusters:
    """Four clusters by the features in ``root/features``."""
    cluster_tool.main([str(root / features), '--out', str(out), '--num-groups', '2', '--num-blocks', '2',
                       '--device', 'cpu', *more])
    return Clusters.load(out)


def refused(run, *args, **kwargs) -> str:
    """The one line of the error."""
    with pytest.raises(InputError) as error:
        run(*args, **kwargs)
    message = str(error.value)
    assert '\n' not in message
    return message


def noisy_clusters() -> Partition:
    """Of features on which the centroids move a long way, in an odd number."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(8, 16))[np.arange(203) % 8] + 0.7 * generator.normal(size=(203, 16))
    return sinkhorn_clustering(FeatureMatrix(features.astype(np.float32)), 8, epochs=4, batch_size=32)


def main(folder: Path) -> None:
    extract(folder, '--labels-from-folders')
    for method in METHODS:
        divide(folder, folder / f'{method}.npz', '--method', method, '--min-size', '8')
    noisy = noisy_clusters()
    np.savez(folder / f'noisy{dist.get_rank()}.npz', assignment=noisy.assignment, centroids=noisy.centroids,
             objective=noisy.history[-1].objective)
    # The damaged image is in the shard of one rank; both must end.
    message = refused(extract, folder, data='one_damaged', out='stopped')
    (folder / f'message{dist.get_rank()}').write_text(message)


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    main(Path(sys.argv[1]))
    dist.destroy_process_group()
