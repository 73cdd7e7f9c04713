"""kNN against faiss.IndexFlatIP on the same features and cores, in one run.

    python benchmarks/knn.py
    python benchmarks/knn.py --dimensions 2048 --train 50000 --test 10000

faiss searches in float32 on the CPU, and its results depend on the order of summation; ours are exact, and run on a
GPU if there is one. The features are random: classes around centers, positive as after a ReLU.
"""

from __future__ import annotations

import argparse

import faiss
import numpy as np
import torch
from rounds import Comparison, compare, parse, parser_of, report
from threadpoolctl import threadpool_limits

import sdr_mm  # noqa: F401
from sdr_mm.arguments import COUNT, positive
from sdr_mm.cli import run
from sdr_mm.evaluation import accuracy, knn_predict

AT_MOST = 1.0


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


def measure(d: int, args: argparse.Namespace) -> Comparison:
    """Times of one number of features, and how far the predictions agree."""
    train, labels = made_features(args.train, d, args.classes, 0)
    test, answers = made_features(args.test, d, args.classes, 1)
    where = 'cuda' if torch.cuda.is_available() else 'cpu'
    ours = [torch.from_numpy(array).to(where) for array in (train, labels, test)]
    votes: dict[str, np.ndarray] = {}

    def faiss_search() -> None:
        votes['faiss'] = by_faiss(train, labels, test, args.k, args.temperature, args.classes)

    def exact_search() -> None:
        votes['ours'] = knn_predict(*ours, k=[args.k], temperature=args.temperature,
                                    num_classes=args.classes)[args.k]

    found = compare(f'{d} features', exact_search, faiss_search, AT_MOST, args.rounds)
    same = (votes['ours'].argmax(1) == votes['faiss'].argmax(1)).mean()
    print(f'{d} features: {100 * same:.2f} % of the predictions agree, accuracy {accuracy(votes["ours"], answers):.2f} '
          f'(exact) and {accuracy(votes["faiss"], answers):.2f} (faiss, float32)', flush=True)
    return found


def main() -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument('--train', type=COUNT, default=20000, help='training samples (default: 20000)')
    parser.add_argument('--test', type=COUNT, default=5000, help='test samples (default: 5000)')
    parser.add_argument('--dimensions', type=COUNT, nargs='+', default=[512, 2048], help='(default: 512 2048)')
    parser.add_argument('--k', type=COUNT, default=200, help='neighbors (default: 200)')
    parser.add_argument('--classes', type=COUNT, default=100, help='classes (default: 100)')
    parser.add_argument('--temperature', type=positive, default=0.07, help='T (default: 0.07)')
    args = parse(parser)
    faiss.omp_set_num_threads(torch.get_num_threads())
    with threadpool_limits(torch.get_num_threads()):
        found = [measure(d, args) for d in args.dimensions]
    report(found, f'{args.train} training and {args.test} test samples, k = {args.k}, medians of {args.rounds} rounds',
           args.json)


if __name__ == '__main__':
    run(main)
