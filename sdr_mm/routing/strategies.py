"""Ways to find the best of many sub-nets: all in full, or a short list first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from mmengine import dist

from ..distributed import gather, share
from ..errors import InputError, naming
from .bn_reset import BNReset
from .feature_extractor import FeatureExtractor
from .ranking import RankedNetwork
from .scores import Scorer

Found = tuple[list[RankedNetwork], list[str]]
"""All sub-nets of the space, and what was not done in full, a sentence each."""


@dataclass(frozen=True)
class Search(ABC):
    """How the sub-nets of a space are searched; see the subclasses.

    Attributes:
        name (str): As options and files call it.
        scores_all (bool): Whether every sub-net has features of all images.
        needs_clusters (bool): Whether it needs the clusters of pre-training.
    """

    name: ClassVar[str]
    scores_all: ClassVar[bool] = True
    needs_clusters: ClassVar[bool] = False

    @abstractmethod
    def run(self, extractor: FeatureExtractor, scorer: Scorer) -> Found:
        """Ranks all sub-nets. All ranks must call."""

    @abstractmethod
    def passes(self, extractor: FeatureExtractor) -> float:
        """About how many images will go through a network, over all ranks."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its options, for files."""
        return asdict(self)


@dataclass(frozen=True)
class Exact(Search):
    """Every sub-net on all images.

    Where all have their BN statistics from the same images they run as a tree (:class:`PrefixTree`), which changes
    nothing but the time; with those of their clusters they run one by one.

    Args:
        share_prefixes (bool): Whether they may run as a tree. Defaults to True.
    """

    name: ClassVar[str] = 'exact'
    share_prefixes: bool = True

    def run(self, extractor: FeatureExtractor, scorer: Scorer) -> Found:
        return score(extractor, scorer, range(len(extractor.backbone.space)), self.share_prefixes), []

    def passes(self, extractor: FeatureExtractor) -> float:
        return score_passes(extractor, len(extractor.backbone.space), self.share_prefixes)


@dataclass(frozen=True)
class ShortList(Search):
    """Searches that score a few finalists in full, and eliminate the others before.

    Args:
        finalists (int): How many. Defaults to 4.

    Raises:
        InputError: If it is less than 1.
    """

    finalists: int = 4

    def __post_init__(self) -> None:
        if self.finalists < 1:
            raise InputError(f'a search needs finalists >= 1, got {self.finalists}')

    @abstractmethod
    def shorten(self, extractor: FeatureExtractor, scorer: Scorer) -> tuple[list[int], list[RankedNetwork], str]:
        """The finalists, best first, the sub-nets that were eliminated, and a sentence on how."""

    @abstractmethod
    def shorten_passes(self, extractor: FeatureExtractor) -> float:
        """What that takes, as :meth:`passes`."""

    def run(self, extractor: FeatureExtractor, scorer: Scorer) -> Found:
        if self._all_are_finalists(extractor):
            return Exact().run(extractor, scorer)
        finalists, eliminated, how = self.shorten(extractor, scorer)
        if not extractor.task.classes:  # There is nothing to score by.
            return eliminated, [how]
        return (score(extractor, scorer, finalists) + eliminated,
                [f'{how}; {len(finalists)} finalists were then scored exactly'])

    def passes(self, extractor: FeatureExtractor) -> float:
        if self._all_are_finalists(extractor):
            return Exact().passes(extractor)
        finalists = score_passes(extractor, self.finalists) if extractor.task.classes else 0
        return self.shorten_passes(extractor) + finalists

    def _all_are_finalists(self, extractor: FeatureExtractor) -> bool:
        return bool(extractor.task.classes) and self.finalists >= len(extractor.backbone.space)


@dataclass(frozen=True)
class Screen(ShortList):
    """First all sub-nets as a tree, with BN statistics of the same images; then the finalists exactly.

    Args:
        bn (str, optional): Those images, ``'task'``, ``'all'`` or ``'none'``. Defaults to None: as the ranking's,
            or ``'task'`` if that is ``'cluster'``.
    """

    name: ClassVar[str] = 'screen'
    bn: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_screening(self.bn)

    def shorten(self, extractor: FeatureExtractor, scorer: Scorer) -> tuple[list[int], list[RankedNetwork], str]:
        bn = screening_bn(extractor.bn, self.bn)
        everyone = score_as_tree(extractor, scorer, range(len(extractor.backbone.space)), bn)
        best, others = shortlisted(everyone, self.finalists)
        return best, others, f'sub-nets were screened with BN statistics of the same images ({bn.mode})'

    def shorten_passes(self, extractor: FeatureExtractor) -> float:
        bn = screening_bn(extractor.bn, self.bn)
        weight = extractor.tree.passes(extractor.backbone.space.paths, extractor.store.size)
        return weight * (len(extractor.readable) + extractor.bn_size(bn))


def check_screening(mode: str | None) -> None:
    """Refuses BN statistics that sub-nets could not share while a short list is made.

    Raises:
        InputError: Naming those they can.
    """
    if mode not in (None, 'task', 'all', 'none'):
        raise InputError(f"sub-nets share BN statistics in a screening: screen_bn is 'task', 'all' or 'none', got "
                         f'{mode!r}')


def screening_bn(bn: BNReset, mode: str | None) -> BNReset:
    """The BN statistics that all sub-nets share while a short list is made."""
    return replace(bn, mode=mode or (bn.mode if bn.shared else 'task'))


def score(extractor: FeatureExtractor, scorer: Scorer, subnets: Sequence[int],
          share_prefixes: bool = True) -> list[RankedNetwork]:
    """Each sub-net with its own BN reset, on all images; as a tree, if that may be and changes nothing."""
    if share_prefixes and extractor.bn.shared and len(subnets) > 1:
        return score_as_tree(extractor, scorer, subnets, extractor.bn)
    space = extractor.backbone.space

    def mine() -> list[RankedNetwork]:
        found = []
        for subnet in share(subnets):
            name = f'sub-net {subnet}'
            with naming(name):
                bn, features = extractor.features(extractor.subnet(subnet), subnet, extractor.bn.mode != 'none')
            found.append(scorer.rank(name, features, extractor.task, bn, subnet, space.path(subnet)))
        return found
    return joined(gather(mine))


def score_passes(extractor: FeatureExtractor, subnets: int, share_prefixes: bool = True) -> float:
    """About how many passes :func:`score` takes."""
    space, bn = extractor.backbone.space, extractor.bn
    if bn.shared:
        images = len(extractor.readable) + extractor.bn_size(bn, 0)
        if share_prefixes and subnets > 1:
            return images * extractor.tree.passes(space.paths[:subnets], extractor.store.size)
        return float(images * subnets)
    # Clusters differ in size, and which of them a short list will have is not known.
    mean = sum(extractor.bn_size(bn, subnet) for subnet in range(len(space))) / len(space)
    return subnets * (len(extractor.readable) + mean)


def score_as_tree(extractor: FeatureExtractor, scorer: Scorer, subnets: Sequence[int],
                  bn: BNReset) -> list[RankedNetwork]:
    """All images in walks through the tree of prefixes, with BN statistics of the same images for all."""
    space = extractor.backbone.space
    parts = extractor.tree.parts([space.path(subnet) for subnet in subnets], len(extractor.readable),
                                 dist.get_world_size())

    def mine() -> list[RankedNetwork]:
        found = []
        for part in share(parts):
            source = extractor.reset_tree(bn, part)
            features = extractor.tree_features(part)
            for path in part:
                index = space.index(path)
                found.append(scorer.rank(f'sub-net {index}', features.pop(path), extractor.task, source, index, path))
        return found
    return joined(gather(mine))


def shortlisted(networks: Iterable[RankedNetwork], finalists: int) -> tuple[list[int], list[RankedNetwork]]:
    """The best sub-nets of a screening, and the others, marked as eliminated."""
    ranked = sorted(networks, key=lambda network: (*network.order, network.subnet))
    best = [network.subnet for network in ranked[:finalists] if network.subnet is not None]
    return best, [replace(network, eliminated=1, screening=network.score if network.scores else network.screening)
                  for network in ranked[finalists:]]


def joined(parts: Iterable[list[RankedNetwork]]) -> list[RankedNetwork]:
    """What all ranks found."""
    return [network for part in parts for network in part]
