"""Newton's method by conjugate gradients, for the penalized losses of logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .losses import Loss

FLOOR = 1e-10
"""Gradients of the objective over n that no fit need fall below."""

MEMORY = 2**31
"""Bytes that the Hessian's blocks may take."""

# Sufficient decrease of a step (Nocedal and Wright 2006, eq. 3.6), rounding of a value, lengths that a search tries.
_DECREASE, _ROUNDING, _TRIALS = 1e-4, 1e-12, 30


@dataclass(frozen=True)
class Minimum:
    """Where a fit ended. If it has not converged, steps are used up, or rounding hides any further descent."""

    point: Tensor  # (r, q)
    gradient: float  # length of the longest row of the gradient there
    steps: int  # of conjugate gradients, of which each costs about as much as a gradient
    converged: bool


@torch.no_grad()
def minimize(loss: Loss, penalty: Tensor, start: Tensor, *, tol: float, balance: float, max_steps: int) -> Minimum:
    """Minimizes ``loss + Σ penalty / 2 · point²`` from ``start`` (r, q), with penalties (q,).

    It ends where the longest row of the gradient is at most ``tol``, and at most the part ``balance`` of that of the
    penalty alone (or :data:`FLOOR`), or after ``max_steps`` steps of conjugate gradients.

    Each step of Newton's method is solved for as far as the quadratic model can be trusted, by how much the last
    one lessened the gradient (Eisenstat and Walker 1996, choice 2), and shortened until it descends. The
    preconditioner is diagonal. A fit that is not done soon continues with the Hessian's blocks of single rows.
    """
    point, steps, cost, forcing = start, 0, 0, 0.3
    stuck = torch.zeros_like(loss.dot(start, start), dtype=torch.bool)
    patience = max(32, min(max_steps, start.shape[1]) // 2)
    fits = 8 * len(start) * start.shape[1]**2 <= MEMORY
    lower: Tensor | None = None

    def evaluate(point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, gradient, probabilities = loss(point)
        return value + loss.dot(penalty * point, point) / 2, gradient + penalty * point, probabilities

    value, gradient, probabilities = evaluate(point)
    while True:
        length = loss.longest(gradient)
        limit = (balance * loss.longest(penalty * point)).clamp(min=FLOOR).clamp(max=tol)
        done = (length <= limit) | stuck
        if done.all() or steps >= max_steps:
            return Minimum(point, float(length.max()), steps, bool((length <= limit).all()))
        if fits and steps >= patience and (lower is None or cost > max(20, start.shape[1] // 8)):
            lower = _factor(loss, probabilities, penalty)
        before = loss.dot(gradient, gradient).sqrt()
        target = torch.maximum(forcing * before, limit * before / length / 2)
        step, cost = _solve(loss, probabilities, penalty, lower, torch.where(done, 0, -gradient), target,
                            max_steps - steps)
        steps += cost
        slope, share = loss.dot(step, gradient), torch.ones_like(value)
        for _ in range(_TRIALS):
            trial = evaluate(point + share * step)
            turned = loss.dot(step, trial[1])
            # Where values differ by rounding only, the slope decides (Hager and Zhang 2005, equation 4.1).
            same = (trial[0] <= value + _ROUNDING * value.abs()) & (turned <= (2 * _DECREASE - 1) * slope)
            good = done | same | (trial[0] <= value + _DECREASE * share * slope)
            if good.all():
                break
            share = torch.where(good, share, share * (slope / (slope - turned)).nan_to_num(0.5).clamp(0.1, 0.5))
        else:
            stuck = stuck | ~good
            share = torch.where(stuck, 0, share)
            trial = evaluate(point + share * step)
        point = point + share * step
        value, gradient, probabilities = trial
        ratio = (loss.dot(gradient, gradient).sqrt() / before)[~done]
        forcing = min(0.3, max(1e-3, 0.9 * float(ratio.max())**2))


def _solve(loss: Loss, probabilities: Tensor, penalty: Tensor, lower: Tensor | None, rest: Tensor, target: Tensor,
           max_steps: int) -> tuple[Tensor, int]:
    """Solves ``Hessian · x = rest`` by conjugate gradients until no residual is longer than its target; x and steps."""
    diagonal = loss.diagonal(probabilities) + penalty

    def precondition(vector: Tensor) -> Tensor:
        if lower is None:
            return vector / diagonal
        # Rows whose sum is not zero have no curvature but that of the penalty, and steps need none of it.
        return loss.centered(torch.cholesky_solve(loss.centered(vector)[:, :, None], lower)[:, :, 0])

    solution, steps = torch.zeros_like(rest), 0
    direction = precondition(rest)
    energy = loss.dot(rest, direction)
    active = energy > 0
    while steps < max_steps and active.any():
        curved = loss.curve(probabilities, direction) + penalty * direction
        steps += 1
        bend = loss.dot(direction, curved)
        active = active & (bend > 0)  # which only rounding can deny
        length = torch.where(active, energy / bend, 0)
        solution = solution + length * direction
        rest = rest - length * curved
        preconditioned = precondition(rest)
        before, energy = energy, loss.dot(rest, preconditioned)
        active = active & (loss.dot(rest, rest).sqrt() > target)
        direction = preconditioned + torch.where(active, energy / before, 0) * direction
    return solution, steps


def _factor(loss: Loss, probabilities: Tensor, penalty: Tensor) -> Tensor | None:
    """Cholesky factors of the Hessian's blocks, None if rounding spoils them."""
    blocks = loss.blocks(probabilities)
    blocks.diagonal(dim1=1, dim2=2).add_(penalty + 1e-12 * loss.second)
    lower, failed = torch.linalg.cholesky_ex(blocks)
    return None if failed.any() else lower
