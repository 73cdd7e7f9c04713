"""Sinkhorn-Knopp clustering of fixed features, the paper's method (section 4.2, eq. 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, broadcast
from torch import Tensor

from ..errors import InputError
from .feature_matrix import FeatureMatrix, Scores
from .partition import Partition


@dataclass(frozen=True, eq=False)
class Transport:
    """The maximizer ``U`` of eq. (2), held as one potential per cluster.

    Given the potential ``b`` of the clusters, that of an image follows from its row alone, so ``n·U`` is
    ``softmax(S / ε + b)`` row by row and ``U`` is never stored. ``potential`` is ``b``, (k,) float64. Rows have their
    marginal 1/n exactly, columns theirs, 1/k, up to the L1 distance ``error`` after ``iterations``.
    """

    epsilon: float
    potential: Tensor
    error: float
    iterations: int

    def log_posterior(self, scores: Tensor) -> Tensor:
        """(c, k) ``log(n·U)`` of the images with (c, k) ``scores``, in the precision of these."""
        return torch.log_softmax(_logits(scores, self.epsilon, self.potential), dim=1)


def sinkhorn(scores: Tensor | Iterable[Tensor], epsilon: float = 0.05, tolerance: float = 1e-3,
             max_iterations: int = 1000, potential: Tensor | None = None) -> Transport:
    """Solves eq. (2), ``max_U Tr(UᵀS) + ε H(U)`` with marginals 1/n and 1/k, in the log domain.

    Each iteration makes the rows exact and then the columns (Sinkhorn-Knopp), in one pass over the scores. Every row is
    scaled by its largest entry and every cluster has its potential in the exponent, so nothing overflows however small
    ``ε`` is. It is done in float32 where the tolerance allows that. Over ranks only k-vectors are reduced.

    Args:
        scores (Tensor | Iterable): (n, k) ``S`` of this rank's images, or its chunks, such as a list or
            :class:`~sdr_mm.clustering.feature_matrix.Scores`. They are gone through in each iteration.
        epsilon (float): Weight ``ε`` of the entropy. Defaults to 0.05.
        tolerance (float): Stop when the L1 error of the marginals is below this. Defaults to 1e-3.
        max_iterations (int): Stop here at the latest; the ``error`` then says how far it got. Defaults to 1000.
        potential (Tensor, optional): (k,) where to start, for example from the solution for nearly the same scores.
            Defaults to zeros.

    Raises:
        InputError: If ``epsilon`` is not positive.
    """
    if not epsilon > 0:
        raise InputError(f'epsilon of Sinkhorn-Knopp must be positive, got {epsilon}')
    assert max_iterations >= 1, f'max_iterations={max_iterations}'
    chunks = (scores, ) if isinstance(scores, Tensor) else scores
    if potential is None:
        first = next(iter(chunks))
        potential = torch.zeros(first.shape[1], dtype=torch.float64, device=first.device)
    k = len(potential)
    # Rounding of S / ε, up to eps / ε, moves the marginals by as much.
    dtype = torch.float32 if torch.finfo(torch.float32).eps / epsilon < tolerance / 10 else torch.float64
    for iteration in range(1, max_iterations + 1):
        log_columns = _log_columns(chunks, epsilon, potential, dtype)
        error = float((log_columns.exp() - 1 / k).abs().sum())
        if error < tolerance or iteration == max_iterations:
            break
        potential = potential - log_columns - math.log(k)
    return Transport(epsilon, potential, error, iteration)


def _logits(scores: Tensor, epsilon: float, potential: Tensor) -> Tensor:
    return torch.add(potential.to(scores.dtype), scores, alpha=1 / epsilon)


def _log_columns(chunks: Iterable[Tensor], epsilon: float, potential: Tensor, dtype: torch.dtype) -> Tensor:
    """(k,) float64 logarithm of the sums of the columns of ``U``, after its rows have been made exact."""
    columns = torch.zeros_like(potential)
    for block in _blocks(chunks):
        columns += torch.softmax(_logits(block.to(dtype), epsilon, potential), dim=1).sum(dim=0)
    all_reduce(columns)
    if columns.min() > 1e-20:
        return (columns / columns.sum()).log()  # Each row of n·U adds 1.
    # Only a first potential can leave a cluster with so little that its exponentials underflow: where the columns were
    # exact and the rows then are made so, no column loses more than a factor of n.
    log_columns = torch.full_like(potential, -math.inf)
    for block in _blocks(chunks):
        log_rows = torch.log_softmax(_logits(block.double(), epsilon, potential), dim=1)
        log_columns = torch.logaddexp(log_columns, torch.logsumexp(log_rows, dim=0))
    return torch.log_softmax(_log_sum_over_ranks(log_columns), dim=0)


def _blocks(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """The chunks, on a CPU in pieces whose passes stay in its cache."""
    for chunk in chunks:
        yield from chunk.split(max(1, 2**18 // chunk.shape[1])) if chunk.device.type == 'cpu' else (chunk, )


def _log_sum_over_ranks(log_values: Tensor) -> Tensor:
    largest = log_values.clone()
    all_reduce(largest, op='max')
    total = (log_values - largest).exp()
    all_reduce(total)
    return total.log() + largest


def objective(scores: Iterable[Tensor], transport: Transport, temperature: float) -> tuple[float, float]:
    """``Tr(UᵀS) + ε H(U)`` of eq. (2), and the mean cross entropy that SGD works on.

    The latter, in nats per image, is between the rows of ``n·U`` and ``softmax(S / temperature)``.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=transport.potential.device)
    for block in _blocks(scores):
        log_rows = transport.log_posterior(block)
        log_softmax = torch.log_softmax(block / temperature, dim=1)
        rows = log_rows.exp()
        sums[3] += len(block)
        for index, values in enumerate((block, log_rows, log_softmax)):
            sums[index] += (rows * values).sum(dim=0).sum(dtype=torch.float64)
    all_reduce(sums)
    trace, log_rows_mean, log_softmax_mean = (sums[:3] / sums[3]).tolist()
    # U has n rows of mass 1/n each: its entropy is the mean entropy of the rows plus log n.
    return trace + transport.epsilon * (math.log(sums[3]) - log_rows_mean), -log_softmax_mean


@dataclass(frozen=True)
class Iteration:
    """Where the alternation stands after ``epoch`` epochs of SGD on the centroids and solving for ``U``.

    The objective of eq. (2) is to rise, the cross entropy of ``U`` and ``S`` (nats per image) falls.
    """

    epoch: int
    objective: float
    cross_entropy: float
    marginal_error: float
    sinkhorn_iterations: int

    def __str__(self) -> str:
        return (f'epoch {self.epoch:3d}  objective {self.objective:.5f}  cross entropy {self.cross_entropy:.5f}  '
                f'marginal error {self.marginal_error:.1e} after {self.sinkhorn_iterations} iterations')


def sinkhorn_clustering(features: FeatureMatrix, k: int, *, epsilon: float = 0.05, epochs: int = 10, lr: float = 0.5,
                        momentum: float = 0.9, batch_size: int = 256, temperature: float = 1.0,
                        assign: str = 'scores', seed: int = 0, tolerance: float = 1e-3, max_iterations: int = 1000,
                        report: Callable[[Iteration], None] | None = None) -> Partition:
    """Optimizes ``U`` and the centroids ``C`` in turn (section 4.2 of the paper).

    ``U`` is solved over all images by :func:`sinkhorn`; then ``C`` takes one epoch of mini-batch SGD on the cross
    entropy between the rows of ``n·U`` and ``softmax(S / temperature)``, and is put back on the unit sphere after each
    step. A batch is the same set of images for any number of ranks.

    Args:
        features (FeatureMatrix): The features.
        k (int): Number of clusters.
        epsilon (float): ``ε`` of eq. (2). Defaults to 0.05.
        epochs (int): Epochs of SGD. Defaults to 10.
        lr (float): Learning rate at the start; it falls to zero by a cosine. The gradient is scaled by ``k``, since
            only about 1/k of the images move a centroid, so that one rate suits every number of clusters. Defaults to
            0.5.
        momentum (float): Momentum of SGD. Defaults to 0.9.
        batch_size (int): Images in a step over all ranks. Defaults to 256.
        temperature (float): That of the softmax over ``S``. Defaults to 1, eq. (2) as it is written: the softmax is
            then nearly flat, SGD moves a centroid to the mean of its images, and the objective rises. Near ``epsilon``
            it sharpens the clusters it has instead of improving them, and the objective falls.
        assign (str): ``'scores'`` takes ``argmax S`` as the paper does. ``'posterior'`` takes ``argmax U``, whose
            clusters are nearly equal in size: for small data sets, where every cluster must fill a batch. Defaults to
            ``'scores'``.
        seed (int): Of the first centroids and of the batches. Defaults to 0.
        tolerance (float): See :func:`sinkhorn`. Defaults to 1e-3.
        max_iterations (int): See :func:`sinkhorn`. Defaults to 1000.
        report (Callable, optional): Called with each :class:`Iteration`.

    Raises:
        InputError: If there are fewer images than clusters, or an option is out of range.
    """
    if assign not in ('scores', 'posterior'):
        raise InputError(f"assign must be 'scores' or 'posterior', got {assign!r}")
    for name, value in (('epsilon', epsilon), ('lr', lr), ('temperature', temperature), ('batch_size', batch_size)):
        if not value > 0:
            raise InputError(f'{name} of the clustering must be positive, got {value}')
    if epochs < 0:
        raise InputError(f'epochs of the clustering must not be negative, got {epochs}')
    features.check_number(k)

    centroids = first_centroids(features, k, seed)
    velocity = torch.zeros_like(centroids)
    batches_per_epoch = math.ceil(len(features) / batch_size)
    step, steps = 0, epochs * batches_per_epoch
    history: list[Iteration] = []
    scores, potential = Scores(features, centroids), None
    for epoch in range(epochs + 1):
        transport = sinkhorn(scores, epsilon, tolerance, max_iterations, potential)
        potential = transport.potential  # nearly the solution for the next centroids
        history.append(
            Iteration(epoch, *objective(scores, transport, temperature), transport.error, transport.iterations))
        if report is not None:
            report(history[-1])
        if epoch == epochs:
            break
        order = np.random.default_rng((seed, epoch)).permutation(len(features))
        for start in range(0, len(order), batch_size):
            rows = order[start:start + batch_size]
            local = rows[(rows >= features.start) & (rows < features.stop)]  # this rank's part
            batch = features.take(local)
            # U stays fixed within the epoch: it is a function of the centroids it was solved for.
            target = transport.log_posterior(scores.take(local)).exp()
            prediction = torch.softmax(batch @ centroids.T / temperature, dim=1)
            gradient = (prediction - target).T @ batch
            all_reduce(gradient)
            rate = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            velocity = momentum * velocity + gradient * (k / (len(rows) * temperature))
            centroids = F.normalize(centroids - rate * velocity, dim=1)
            step += 1
        scores.update(centroids)

    choose = transport.log_posterior if assign == 'posterior' else lambda chunk: chunk
    chosen = torch.cat([choose(chunk).argmax(dim=1) for chunk in scores])
    return Partition(features.gather(chosen), centroids.cpu().numpy(), history)


def first_centroids(features: FeatureMatrix, k: int, seed: int, images_per_cluster: int = 32) -> Tensor:
    """(k, d) float32 unit vectors to start from: greedy k-means++ on a random sample of the images.

    A centroid is drawn with a probability that grows with its distance from those before; the best of a few draws is
    kept. Random images instead often leave two centroids in one cluster, which SGD does not mend. ``seed`` fixes the
    choice, for any number of ranks.
    """
    sample = features.sample(k * images_per_cluster, seed)
    generator = np.random.default_rng((seed, k))
    chosen = [int(generator.integers(len(sample)))]
    distance = _squared_distance(sample, sample[chosen])[0]
    trials = 2 + int(math.log(k))
    for _ in range(k - 1):
        distance[chosen] = 0  # exactly, so that none comes twice
        cumulated = distance.cumsum(0)
        points = torch.from_numpy(generator.random(trials)).to(distance) * cumulated[-1]
        drawn = torch.searchsorted(cumulated, points, right=True).clamp(max=len(sample) - 1)
        candidates = torch.minimum(distance, _squared_distance(sample, sample[drawn]))
        best = int(candidates.sum(dim=1).argmin())
        chosen.append(int(drawn[best]))
        distance = candidates[best]
    centroids = sample[chosen].clone()
    broadcast(centroids)  # ranks of unlike hardware may round, and then choose, differently
    return centroids


def _squared_distance(vectors: Tensor, points: Tensor) -> Tensor:
    """(p, m) float64: of unit vectors; above 0 even between equal ones, so that k can be drawn."""
    return (2 - 2 * points @ vectors.T).double().clamp(min=1e-12)
