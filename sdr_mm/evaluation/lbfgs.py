"""L-BFGS for many smooth convex problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .preconditioner import Preconditioner

Evaluation = tuple[Tensor, Tensor, Tensor, Preconditioner | None]
Evaluate = Callable[[Tensor, Tensor, bool], Evaluation]

PAIRS = 6
"""Steps that are remembered, each with its change of the gradient. More cost time and hardly save steps."""

VECTORS = 2 * PAIRS + 1
"""Vectors of the size of a point that the memory of one problem takes."""

# Sufficient decrease and curvature of a step (Nocedal and Wright 2006, equation 3.6), how far two values may
# be apart by rounding, and after how many lengths a search is given up.
_DECREASE, _CURVATURE, _ROUNDING, _TRIALS = 1e-4, 0.9, 1e-12, 30


@dataclass(frozen=True)
class Minima:
    """Where the problems ended.

    Args:
        points (Tensor): (b, r, q) float64.
        gradients (Tensor): (b,) Euclidean length of the longest row of the gradient there.
        converged (Tensor): (b,) bool, whether that is within its limit. If not, the problem has used up its
            steps, or rounding hides any further descent.
        iterations (Tensor): (b,) int64, steps.
        evaluations (int): Evaluations of one problem, in all.
    """

    points: Tensor
    gradients: Tensor
    converged: Tensor
    iterations: Tensor
    evaluations: int


@torch.no_grad()
def minimize(evaluate: Evaluate, start: Tensor, *, max_iter: int, period: int) -> Minima:
    """Minimizes each problem until no row of its gradient is longer than its limit.

    All problems are evaluated together, each at its own trial point: while one still looks for the length
    of a step another one takes its next, so that none waits. Those that have converged leave. Apart from
    rounding, what becomes of a problem does not depend on the others.

    The approximate inverse Hessian begins as a preconditioner, which is measured anew from time to time, times
    a factor that fits the last step. The direction is a combination of the remembered vectors with
    coefficients from their Gram matrix (Byrd, Nocedal and Schnabel 1994, equation 3.1), so that it reads
    the memory only twice.

    Args:
        evaluate (Callable): ``evaluate(points (b, r, q), problems (b,), renew)`` returns the values (b,), the
            gradients (b, r, q), the limits of the gradients there (b,) and, where ``renew`` is true, a
            preconditioner. ``problems`` are the positions in ``start`` of those that are left.
        start (Tensor): (b, r, q) float64.
        max_iter (int): Most steps of a problem.
        period (int): Evaluations from one preconditioner to the next.

    Returns:
        Minima: In the order of ``start``.
    """
    problems = torch.arange(len(start), device=start.device)
    state = _State.begin(evaluate, start, problems)
    result = Minima(start.clone(), torch.zeros_like(state.value), torch.zeros_like(state.stuck),
                    torch.zeros_like(problems), 0)
    evaluations, rounds = len(start), 0
    while True:
        converged = state.longest <= state.limit
        ended = converged | (state.iterations >= max_iter) | state.stuck
        if ended.any():
            those = problems[ended]
            result.points[those], result.gradients[those] = state.point[ended], state.longest[ended]
            result.converged[those], result.iterations[those] = converged[ended], state.iterations[ended]
            left = (~ended).nonzero()[:, 0]
            if not len(left):
                return replace(result, evaluations=evaluations)
            problems, state = problems[left], state.take(left)
        renew = rounds % period == 0 and rounds > 0
        trial = torch.addcmul(state.point, state.length[:, None, None], state.direction)
        state.advance(trial, *evaluate(trial, problems, renew))
        evaluations += len(problems)
        rounds += 1


@dataclass
class _State:
    """The problems that are left. Each tensor has an entry for each of them.

    ``vectors`` (b, VECTORS, r·q) holds ``PAIRS`` steps, as many changes of the gradient, and the gradient, in
    the coordinates of the preconditioner. Pair ``i`` has the place ``i % PAIRS``; places not yet used are
    zero.

    A search for the length of a step knows an interval that holds a good one, ``low`` to ``high``, and the
    slopes along ``direction`` at 0 and at both ends.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    longest: Tensor
    limit: Tensor
    iterations: Tensor
    base: Preconditioner
    vectors: Tensor
    pairs: Tensor
    direction: Tensor
    slope: Tensor
    length: Tensor
    low: Tensor
    low_slope: Tensor
    high: Tensor
    high_slope: Tensor
    trials: Tensor
    stuck: Tensor

    @classmethod
    def begin(cls, evaluate: Evaluate, start: Tensor, problems: Tensor) -> _State:
        value, gradient, limit, base = evaluate(start, problems, True)
        assert base is not None
        vectors = start.new_zeros(len(start), VECTORS, start[0].numel())
        none, zero = torch.zeros_like(problems), torch.zeros_like(value)
        state = cls(start, value, gradient, _longest(gradient), limit, none, base, vectors, none, gradient,
                    zero, zero, zero, zero, zero, zero, none, none.bool())
        vectors[:, -1] = base.slope(gradient[:, None]).flatten(1)
        state.search(None)
        return state

    def take(self, which: Tensor) -> _State:
        values: list[Any] = [getattr(self, field.name) for field in fields(self)]
        values = [value[which] if isinstance(value, Tensor) else value.take(which) for value in values]
        return _State(*values)

    def put(self, which: Tensor | None, **values: Tensor) -> None:
        """Sets values of some of the problems; None stands for all of them, which is the usual case."""
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, value if which is None else
                    torch.where(which.view(-1, *[1] * (old.dim() - 1)), value, old))

    def advance(self, trial: Tensor, value: Tensor, gradient: Tensor, limit: Tensor,
                base: Preconditioner | None) -> None:
        """Goes to the trial points that are good enough, and changes the lengths of the other steps."""
        slope = _dot(self.direction, gradient)
        # Where values differ by rounding only, the slope decides (Hager and Zhang 2005, equation 4.1). What is
        # not a number compares as false, and is too far.
        same = value <= self.value + _ROUNDING * self.value.abs()
        lower = (value <= self.value + _DECREASE * self.length * self.slope) | \
            same & (slope <= (2 * _DECREASE - 1) * self.slope)
        far = ~lower | slope.isnan()
        near = ~far & (slope < _CURVATURE * self.slope)
        again = far | near
        if not again.any():
            good = None
        else:
            self.change_length(far, near, slope)
            good = ~again
            if not good.any():
                return
        self.accept(good, trial, value, gradient, limit, base)
        self.search(good)

    def change_length(self, far: Tensor, near: Tensor, slope: Tensor) -> None:
        """A length that was too much or too little becomes an end of the interval; the next one is inside."""
        self.put(far, high=self.length, high_slope=slope)
        self.put(near, low=self.length, low_slope=slope)
        # Where the slope would vanish if it were linear: beyond the interval, or within.
        beyond = self.length * (self.slope / (self.slope - slope)).nan_to_num(2.).clamp(2, 10)
        share = self.low_slope / (self.low_slope - self.high_slope)
        within = self.low + (self.high - self.low) * share.nan_to_num(0.5).clamp(0.1, 0.9)
        self.put(far | near, length=torch.where(self.high.isinf(), beyond, within), trials=self.trials + 1)
        # A search that finds no length is begun again without memory, and ends the problem the second time.
        lost = self.trials > _TRIALS
        if lost.any():
            self.stuck = self.stuck | lost & (self.pairs == 0)
            self.forget(lost & (self.pairs > 0))

    def accept(self, good: Tensor | None, point: Tensor, value: Tensor, gradient: Tensor, limit: Tensor,
               base: Preconditioner | None) -> None:
        step = self.base.coordinates((point - self.point)[:, None]).flatten(1)
        change = self.base.slope((gradient - self.gradient)[:, None]).flatten(1)
        # Convexity makes the product positive; rounding may not.
        useful = (step * change).sum(1) > 1e-14 * step.norm(dim=1) * change.norm(dim=1)
        useful = useful if good is None else useful & good
        rows, place = useful.nonzero()[:, 0], self.pairs[useful] % PAIRS
        self.vectors[rows, place] = step[rows]
        self.vectors[rows, PAIRS + place] = change[rows]
        self.pairs = self.pairs + useful
        self.put(good, point=point, value=value, gradient=gradient, longest=_longest(gradient), limit=limit,
                 iterations=self.iterations + 1)
        if base is not None:
            steps, changes = self.vectors[:, :-1].view(-1, 2, PAIRS, *point.shape[1:]).unbind(1)
            steps, changes = self.base.step(steps), self.base.gradient(changes)
            self.base = base if good is None else self.base.put(good, base)  # type: ignore[arg-type]
            self.vectors[:, :PAIRS] = self.base.coordinates(steps).flatten(2)
            self.vectors[:, PAIRS:-1] = self.base.slope(changes).flatten(2)
        self.vectors[:, -1] = self.base.slope(self.gradient[:, None]).flatten(1)

    def search(self, which: Tensor | None) -> None:
        """Begins a search along the direction of L-BFGS."""
        factors = _direction(self.vectors, self.pairs)
        self.search_along(which, self.base.step((factors[:, None] @ self.vectors).view_as(self.point[:, None]))[:, 0])
        # Rounding may spoil the memory: without it the direction descends.
        uphill = ~(self.slope < 0)
        if uphill.any():
            self.forget(uphill)

    def forget(self, which: Tensor) -> None:
        """Begins a search along the scaled gradient, without memory."""
        self.vectors[which, :-1] = 0
        self.pairs = self.pairs.masked_fill(which, 0)
        self.search_along(which, -self.base.step(self.base.slope(self.gradient[:, None]))[:, 0])

    def search_along(self, which: Tensor | None, direction: Tensor) -> None:
        slope = _dot(direction, self.gradient)
        zero = torch.zeros_like(slope)
        self.put(which, direction=direction, slope=slope, low_slope=slope, low=zero, high=zero + torch.inf,
                 length=zero + 1, trials=torch.zeros_like(self.trials))


def _direction(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Factors (b, VECTORS) of the vectors in the direction of L-BFGS."""
    order = (pairs[:, None] + torch.arange(PAIRS, device=pairs.device)) % PAIRS  # The oldest one first.
    index = torch.cat([order, PAIRS + order, torch.full_like(order[:, :1], VECTORS - 1)], 1)
    gram = vectors @ vectors.transpose(1, 2)
    gram = gram.gather(1, index[:, :, None].expand(gram.shape)).gather(2, index[:, None].expand(gram.shape))
    product, squares = gram[:, :PAIRS, PAIRS:-1], gram[:, PAIRS:-1, PAIRS:-1]
    along, across = gram[:, :PAIRS, -1:], gram[:, PAIRS:-1, -1:]
    diagonal = product.diagonal(dim1=1, dim2=2)
    # Places not yet used come first, and are zero.
    triangle = product.triu() + torch.diag_embed((diagonal == 0).to(product))
    factor = torch.where(pairs > 0, diagonal[:, -1] / squares[:, -1, -1], 1)[:, None, None]
    changes = torch.linalg.solve_triangular(triangle, along, upper=True)
    steps = (torch.diag_embed(diagonal) + factor * squares) @ changes - factor * across
    steps = torch.linalg.solve_triangular(triangle.transpose(1, 2), steps, upper=False)
    factors = torch.cat([-steps, factor * changes, -factor], 1)[:, :, 0]
    return torch.zeros_like(factors).scatter(1, index, factors)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum((1, 2))


def _longest(gradient: Tensor) -> Tensor:
    return gradient.norm(dim=2).amax(1)
