"""How long a ranking will take, measured on one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from mmengine import dist

from ..errors import InputError
from ..evaluation.features import pooled_features
from ..space import Path
from .bn_reset import reset_bn
from .scores import Scorer
from .session import Session

FEW = 32
"""Images that tell how much more than a sub-net the super-net and BN statistics take."""


class Expectation:
    """Adds up what is to be done.

    One batch through one sub-net, one scoring of random features and a few images through the super-net and
    for BN statistics are timed; the rest is arithmetic, so it does not know of batches that are slower than
    the first, and takes candidates from elsewhere for sub-nets.

    Args:
        session (Session): The ranking to come.
        scorer (Scorer): What it scores.

    Attributes:
        passes (float): Images through a network.
    """

    def __init__(self, session: Session, scorer: Scorer) -> None:
        self.session, self.scorer = session, scorer
        self.passes, self.scorings = 0.0, 0
        self._work = 0.0  # In passes of a sub-net that has its statistics.
        network = session.subnet(0)
        (batch, *_) = session.batches(session.images, session.readable[:session.bn.batch_size])
        self.per_pass = self._time(lambda: pooled_features(network, [batch])) / len(batch)
        few = batch[:FEW]
        alone = self._time(lambda: pooled_features(network, [few]))
        supernet = session.supernet()
        self._supernet = self._time(lambda: pooled_features(supernet, [few])) / alone
        try:
            self._measured = self._time(lambda: reset_bn(network, [few], across_ranks=False)) / alone
        except InputError:  # It will be said where it belongs, with the name of the network.
            self._measured = 1.0

    def _time(self, work: Callable[[], object]) -> float:
        work()  # The first time is slower.
        start = time.monotonic()
        work()
        if self.session.device.type == 'cuda':
            torch.cuda.synchronize(self.session.device)
        return time.monotonic() - start

    def _add(self, networks: float, images: int, bn_images: int, weight: float = 1.0) -> None:
        self.passes += networks * (images + bn_images)
        self._work += weight * networks * (images + bn_images * self._measured)

    def one_by_one(self, networks: int, bn_images: int, supernet: bool = False) -> None:
        """Networks that each pass over all images and are scored."""
        self._add(networks, len(self.session.readable), bn_images, self._supernet if supernet else 1.0)
        self.scorings += networks

    def tree(self, paths: Sequence[Path], images: int, bn_images: int, scored: bool = False) -> None:
        """A walk over sub-nets; ``scored`` says whether each of them is."""
        self._add(self.session.tree.passes(paths, self.session.images.size), images, bn_images)
        self.scorings += len(paths) if scored else 0

    def label_free(self, images: int) -> None:
        """Images through the super-net alone."""
        self._add(1, images, 0, self._supernet)

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
        return (self._work * self.per_pass + self.scorings * scoring) / dist.get_world_size()
