"""The losses of logistic regression, with what Newton's method asks of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Loss(ABC):
    """The mean over n images of a loss of their scores.

    A point holds weights (r, q), in the last column those of the intercepts, for ``values`` (n, q), float64, of which
    the last column is a constant. Where the rows are ``joint`` they are one problem, else each is a problem of its
    own; numbers are (problems, 1).
    """

    joint: bool

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.second = values.square().mean(0)

    @abstractmethod
    def start(self) -> Tensor:
        """Weights of zero and the intercepts that go with them."""

    @abstractmethod
    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its gradient (r, q) and the probabilities (r, n), of which the methods below are functions."""

    def curve(self, probabilities: Tensor, direction: Tensor) -> Tensor:
        """The Hessian times a direction (r, q)."""
        change = direction @ self.values.T
        if self.joint:
            change *= probabilities
            change -= probabilities * change.sum(0)
        else:
            change *= probabilities - probabilities.square()
        return change @ self.values / len(self.values)

    def diagonal(self, probabilities: Tensor) -> Tensor:
        """The Hessian's diagonal, as if p · (1 - p) depended neither on the features nor on the class.

        One scale for all classes keeps the sum of their weights at zero: along it only the penalty curves.
        """
        spread = (probabilities - probabilities.square()).mean(1, keepdim=True)
        spread = spread.mean(0, keepdim=True) if self.joint else spread
        # Where all is certain only the penalty is left, and the intercept has none.
        return spread.clamp(min=1e-12) * self.second

    def blocks(self, probabilities: Tensor) -> Tensor:
        """The blocks (r, q, q) of the Hessian that belong to one row."""
        return torch.stack([(self.values * spread[:, None]).T @ self.values / len(self.values)
                            for spread in probabilities - probabilities.square()])

    def dot(self, first: Tensor, second: Tensor) -> Tensor:
        product = (first * second).sum(1, keepdim=True)
        return product.sum(0, keepdim=True) if self.joint else product

    def longest(self, point: Tensor) -> Tensor:
        """Length of the longest row."""
        lengths: Tensor = point.norm(dim=1, keepdim=True)
        return lengths.amax(0, keepdim=True) if self.joint else lengths

    def centered(self, point: Tensor) -> Tensor:
        """Without what all classes have in common."""
        return point - point.mean(0) if self.joint else point


class Softmax(Loss):
    """Softmax regression, with a row for each class. ``labels`` are class numbers (n,)."""

    joint = True

    def __init__(self, values: Tensor, labels: Tensor) -> None:
        super().__init__(values)
        self.labels = labels[None]

    def start(self) -> Tensor:
        counts = self.labels[0].bincount()
        point = self.values.new_zeros(len(counts), self.values.shape[1])
        point[:, -1] = (counts / len(self.values)).double().log() / self.values[0, -1]
        return point

    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = point @ self.values.T
        scores -= scores.amax(0)
        own = scores.gather(0, self.labels)
        # The label's term is kept apart: neither loss nor gradient loses digits where its probability is near 1.
        others = scores.exp_().scatter_(0, self.labels, 0).sum(0, keepdim=True)
        total = others + own.exp()
        value = ((others + own.expm1()).log1p() - own).mean().view(1, 1)
        residual = scores.div_(total).scatter_(0, self.labels, -others / total)
        gradient = residual @ self.values / len(self.values)
        return value, gradient, residual.scatter_(0, self.labels, own.exp() / total)


class Binary(Loss):
    """Each class against the rest; ``labels`` are (r, n) of 0 and 1, weights the difference of two."""

    joint = False

    def __init__(self, values: Tensor, labels: Tensor) -> None:
        super().__init__(values)
        self.sign = 2 * labels.double() - 1

    def start(self) -> Tensor:
        point = self.values.new_zeros(len(self.sign), self.values.shape[1])
        point[:, -1] = ((1 + self.sign.mean(1)) / 2).logit() / self.values[0, -1]
        return point

    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        margin = (point @ self.values.T).mul_(self.sign)
        value = torch.nn.functional.softplus(-margin, threshold=torch.inf).mean(1, keepdim=True)
        wrong = margin.neg_().sigmoid_()
        return value, (wrong * self.sign) @ self.values / -len(self.values), wrong
