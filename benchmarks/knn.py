"""kNN against faiss.IndexFlatIP on the same features and cores, in one run.

    python benchmarks/knn.py
    python benchmarks/knn.py --dimensions 2048 --train 50000 --test 10000

faiss searches in float32, and its results depend on the order of summation; ours are exact. The features are
random: classes around centers, positive as after a ReLU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_limits

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import accuracy, knn_predict

T = TypeVar('T')


def made_features(count: int, d: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (count, d) and labels. The classes are the same for every seed."""
    centers = np.random.default_rng(0).normal(size=(classes, d)).astype(np.float32)
    random = np.random.default_rng([1, seed])
    labels = random.integers(classes, size=count)
    noise = random.standard_normal((count, d), dtype=np.float32)
    return np.maximum(centers[labels] / 4 + noise + 0.5, 0), labels


def by_faiss(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int, temperature: float,
             classes: int) -> np.ndarray:
    """The same scores by faiss: normalize, search, vote."""
    train, test = train.copy(), test.copy()
    faiss.normalize_L2(train)
    faiss.normalize_L2(test)
    index = faiss.IndexFlatIP(train.shape[1])
    index.add(train)
    cosines, nearest = index.search(test, k)
    weights = np.exp((cosines.astype(np.float64) - cosines[:, :1]) / temperature)
    flat = labels[nearest] + classes * np.arange(len(test))[:, None]
    votes = np.bincount(flat.ravel(), weights.ravel(), minlength=classes * len(test)).reshape(len(test), classes)
    return votes / weights.sum(1, keepdims=True)


def timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(d: int, args: argparse.Namespace) -> None:
    train, labels = made_features(args.train, d, args.classes, 0)
    test, answers = made_features(args.test, d, args.classes, 1)

    def faiss_search() -> np.ndarray:
        return by_faiss(train, labels, test, args.k, args.temperature, args.classes)

    def exact_search() -> np.ndarray:
        return knn_predict(train, labels, test, k=[args.k], temperature=args.temperature,
                           num_classes=args.classes)[args.k]

    # Twice, in turns; the shorter time of each counts.
    theirs, expected = timed(faiss_search)
    ours, votes = timed(exact_search)
    theirs, ours = min(theirs, timed(faiss_search)[0]), min(ours, timed(exact_search)[0])
    same = (votes.argmax(1) == expected.argmax(1)).mean()
    print(f'd = {d}: ours {ours:.2f} s, exact; faiss {theirs:.2f} s, float32; ours takes {ours / theirs:.2f} times as '
          f'long; {100 * same:.2f} % of the predictions agree, accuracy {accuracy(votes, answers):.2f} and '
          f'{accuracy(expected, answers):.2f}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', type=int, default=20000, help='training samples (default: 20000)')
    parser.add_argument('--test', type=int, default=5000, help='test samples (default: 5000)')
    parser.add_argument('--dimensions', type=int, nargs='+', default=[512, 2048], help='(default: 512 2048)')
    parser.add_argument('--k', type=int, default=200, help='neighbors (default: 200)')
    parser.add_argument('--classes', type=int, default=100, help='classes (default: 100)')
    parser.add_argument('--temperature', type=float, default=0.07, help='T (default: 0.07)')
    parser.add_argument('--threads', type=int, help='threads of both sides')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(torch.get_num_threads())
    print(f'{args.train} training and {args.test} test samples, k = {args.k}, {torch.get_num_threads()} thread(s)')
    with threadpool_limits(torch.get_num_threads()):
        for d in args.dimensions:
            compare(d, args)


if __name__ == '__main__':
    run(main)
