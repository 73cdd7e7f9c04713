"""Exact kNN of this package against faiss's flat index: neighbours' predictions and times, in one run.

    python benchmarks/knn.py --train 20000 --test 5000 --dim 512

Both weigh 200 neighbours by their cosines. Ours comes out the same for any chunk, device and number of threads
or ranks; faiss computes in float32, whose sums depend on their order.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np
import torch

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import knn_predict


def with_sdr_mm(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int, classes: int) -> np.ndarray:
    """Votes of :func:`knn_predict`, (m, classes)."""
    return knn_predict(train, labels, test, k=(k, ), num_classes=classes)[k]


def with_faiss(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int, classes: int) -> np.ndarray:
    """Weighted votes of the neighbours that faiss finds, (m, classes)."""
    train, test = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, test))
    index = faiss.IndexFlatIP(train.shape[1])
    index.add(train)
    near, numbers = index.search(test, k)
    weights = np.exp(near / 0.07)
    votes = np.zeros((len(test), classes))
    for label in range(classes):
        votes[:, label] = (weights * (labels[numbers] == label)).sum(1)
    return votes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', type=int, default=20000, help='training samples (default: 20000)')
    parser.add_argument('--test', type=int, default=5000, help='test samples (default: 5000)')
    parser.add_argument('--dim', type=int, nargs='+', default=[512, 2048], help='features (default: 512 2048)')
    parser.add_argument('--k', type=int, default=200, help='neighbours (default: 200)')
    parser.add_argument('--repeats', type=int, default=3, help='runs of each, of which the fastest counts (default: 3)')
    parser.add_argument('--threads', type=int, help='threads of torch and faiss')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
        faiss.omp_set_num_threads(args.threads)
    random, classes = np.random.default_rng(0), 100
    for dim in args.dim:
        centres = random.normal(size=(classes, dim))
        labels = random.integers(0, classes, args.train + args.test)
        features = (centres[labels] + 4 * random.normal(size=(len(labels), dim))).astype(np.float32)
        parts = features[:args.train], labels[:args.train], features[args.train:]
        times: dict[str, float] = {}
        votes: dict[str, np.ndarray] = {}
        for name, predict in (('ours', with_sdr_mm), ('faiss', with_faiss)):
            for _ in range(args.repeats):
                start = time.perf_counter()
                votes[name] = predict(*parts, args.k, classes)
                times[name] = min(time.perf_counter() - start, times.get(name, np.inf))
        same = 100 * (votes['ours'].argmax(1) == votes['faiss'].argmax(1)).mean()
        print(f'{args.train} × {args.test} samples, {dim} features, k = {args.k}: {times["ours"]:.2f} s, faiss '
              f'{times["faiss"]:.2f} s, {times["faiss"] / times["ours"]:.2f} times as fast; {same:.2f} % of the '
              f'predictions the same', flush=True)


if __name__ == '__main__':
    run(main)
