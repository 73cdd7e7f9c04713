"""How long a ranking will take, measured on one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from mmengine import dist

from ..errors import InputError
from ..evaluation.features import pooled_features
from ..space import Path
from .scores import Scorer
from .session import Session


class Expectation:
    """Adds up what is to be done.

    One batch through one sub-net and one scoring of random features are timed; the rest is arithmetic,
    so it does not know of batches that are slower than the first.

    Args:
        session (Session): The ranking to come.
        scorer (Scorer): What it scores.

    Attributes:
        passes (float): Images through a network.
    """

    def __init__(self, session: Session, scorer: Scorer) -> None:
        self.session, self.scorer = session, scorer
        self.passes, self.scorings = 0.0, 0
        network = session.subnet(0)
        (batch, *_) = session.batches(session.images, session.readable[:session.bn.batch_size])
        pooled_features(network, [batch])  # The first time is slower.
        self.per_pass = self._time(lambda: pooled_features(network, [batch])) / len(batch)

    def _time(self, work: object) -> float:
        assert callable(work)
        start = time.monotonic()
        work()
        if self.session.device.type == 'cuda':
            torch.cuda.synchronize(self.session.device)
        return time.monotonic() - start

    def one_by_one(self, networks: int, bn_images: int) -> None:
        """Networks that each pass over all images and are scored."""
        self.passes += networks * (len(self.session.readable) + bn_images)
        self.scorings += networks

    def tree(self, paths: Sequence[Path], images: int, bn_images: int, scored: bool = False) -> None:
        """A walk over sub-nets; ``scored`` says whether each of them is."""
        self.passes += self.session.tree.passes(paths, self.session.images.size) * (images + bn_images)
        self.scorings += len(paths) if scored else 0

    @property
    def seconds(self) -> float:
        """Wall-clock time, if all ranks have the same share."""
        scoring = 0.0
        if self.scorings:
            features = torch.rand(len(self.session.readable), self.session.backbone.out_layout.active,
                                  device=self.session.device)
            try:
                scoring = self._time(lambda: self.scorer(features, self.session.task))
            except InputError:  # It will be said where it belongs, with the name of the network.
                scoring = 0.0
        return (self.passes * self.per_pass + self.scorings * scoring) / dist.get_world_size()
