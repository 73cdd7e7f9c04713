"""Sinkhorn clustering against k-means of faiss on the same features and cores.

    python benchmarks/clustering.py --threads 1
    python benchmarks/clustering.py --threads 1 --assign posterior --min-size 78    clusters of nearly one size
    python benchmarks/clustering.py --images 1000000 --dimensions 512 --rounds 1

The peer that does the same work learns from all images; that of faiss's defaults, from 256 a cluster, is shown beside
it. Both end with a cluster for every image. The features are a mixture of Gaussians of unequal weights on the sphere.
"""

from __future__ import annotations

from functools import partial

import faiss
import numpy as np
import torch
from rounds import Comparison, compare, parse, parser_of, report
from sklearn.metrics import normalized_mutual_info_score

import sdr_mm  # noqa: F401
from sdr_mm.arguments import COUNT, positive, whole
from sdr_mm.cli import run
from sdr_mm.clustering.feature_matrix import FeatureMatrix, Scores
from sdr_mm.clustering.sinkhorn import objective, sinkhorn, sinkhorn_clustering
from sdr_mm.text_table import text_table

TARGET = 1.0
LARGEST = 1.01
"""Of the mean size of a cluster, at most."""

PER_CENTROID = 256


def mixture(count: int, d: int, components: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (count, d) float32 and the component of each."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(components, d)).astype(np.float32)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    labels = random.choice(components, size=count, p=random.dirichlet(np.full(components, 2.0)))
    features = centers[labels]
    for part in np.array_split(features, max(1, count // 2**14)):
        part += random.standard_normal(part.shape, dtype=np.float32) * np.float32(noise / d**0.5)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return features, labels


def kmeans(features: np.ndarray, k: int, per_centroid: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and centroids, after faiss's 25 iterations by default."""
    model = faiss.Kmeans(features.shape[1], k, spherical=True, seed=0, max_points_per_centroid=per_centroid)
    model.train(features)
    return model.index.search(features, 1)[1][:, 0], model.centroids


def ours(features: np.ndarray, k: int, assign: str, min_size: int) -> tuple[np.ndarray, np.ndarray]:
    matrix = FeatureMatrix(features, center=False)
    partition = sinkhorn_clustering(matrix, k, assign=assign).fill_small(matrix, min_size)
    return partition.assignment, partition.centroids


def main() -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument('--images', type=COUNT, default=20000, help='(default: 20000)')
    parser.add_argument('--dimensions', type=COUNT, default=512, help='(default: 512)')
    parser.add_argument('--clusters', type=COUNT, default=256, help='and components of the mixture (default: 256)')
    parser.add_argument('--noise', type=positive, default=1.0, help='length of the noise on a center (default: 1)')
    parser.add_argument('--assign', choices=('scores', 'posterior'), default='scores', help='of ours')
    parser.add_argument('--min-size', type=whole(0), default=0, help='of our clusters (default: 0)')
    args = parse(parser)
    faiss.omp_set_num_threads(torch.get_num_threads())
    features, labels = mixture(args.images, args.dimensions, args.clusters, args.noise)
    k = args.clusters
    results: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def keep(name: str, method: partial[tuple[np.ndarray, np.ndarray]]) -> None:
        results[name] = method()

    sides = {'ours': partial(ours, features, k, args.assign, args.min_size),
             'all images': partial(kmeans, features, k, args.images),
             'a sample': partial(kmeans, features, k, PER_CENTROID)}
    compared = [compare(f'against k-means of {peer}', lambda: keep('ours', sides['ours']),
                        lambda peer=peer: keep(peer, sides[peer]), TARGET, args.rounds)
                for peer in ('all images', 'a sample')]
    largest = float(np.bincount(results['ours'][0], minlength=k).max())
    compared.append(Comparison('largest cluster, to the mean size', largest, args.images / k, largest * k / args.images,
                               LARGEST, ''))
    report(compared, f'{args.images} images, {args.dimensions} features, {k} clusters, medians of {args.rounds} rounds',
           args.json)
    rows = []
    matrix = FeatureMatrix(features, center=False)
    for name, (assignment, centroids) in results.items():
        share = np.bincount(assignment, minlength=k) * k / args.images
        scores = Scores(matrix, torch.from_numpy(centroids))
        value, _ = objective(scores, sinkhorn(scores), 1.0)
        rows.append([name, f'{share.min():.3f}', f'{share.max():.3f}', f'{value:.4f}',
                     f'{normalized_mutual_info_score(labels, assignment):.4f}'])
    print(text_table(['', 'smallest', 'largest', 'eq. (2)', 'NMI'], rows, left=(0, )))
    print('sizes are shares of the mean size; eq. (2) is its objective for the centroids; NMI is with the mixture')


if __name__ == '__main__':
    run(main)
