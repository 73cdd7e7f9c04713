"""Ways to find the best of many sub-nets: all in full, or a shortlist first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mmengine import dist
from torch import Tensor

from ..cli import progress
from ..distributed import gather, share
from ..errors import InputError
from .bn_source import BNReset
from .label_free import choose_members, cluster_shares
from .result import RoutingRow
from .scores import LINEAR, Scorer, Scores
from .session import Normalization, Session

Loader = Callable[[], tuple[Any, Normalization]]
SEARCHES = ('exact', 'screen', 'halving', 'label_free')
SHARE = 'share'


@dataclass(frozen=True)
class Search:
    """Scores sub-nets of a session, spread over the ranks. All ranks must call each method.

    Args:
        session (Session): Images and networks of this rank.
        scorer (Scorer): What to score.
        linear (bool): Whether to measure linear accuracy too, as the score ``'linear'``.
    """

    session: Session
    scorer: Scorer
    linear: bool = False

    def row(self, name: str, subnet: int | None, bn: str, features: Tensor) -> RoutingRow:
        """Scores features of one network."""
        try:
            scores: Scores = self.scorer(features, self.session.task)
            if self.linear:
                scores[LINEAR] = self.scorer.linear(features, self.session.task)
        except InputError as error:
            raise InputError(f'{name}: {error}') from error
        ranking, *others = scores
        path = None if subnet is None else list(self.session.backbone.space.path(subnet))
        return RoutingRow(name, subnet, path, bn, scores[ranking], {other: scores[other] for other in others})

    def networks(self, networks: Sequence[tuple[str, Loader, bool]]) -> list[RoutingRow]:
        """Other networks than sub-nets: name, how to get it with its normalization, whether to reset its BN."""
        def work() -> list[RoutingRow]:
            rows = []
            for name, load, reset in progress(share(networks), desc='other networks'):
                network, normalization = load()
                try:
                    bn, features = self.session.features(network, None, reset, normalization)
                except InputError as error:
                    raise InputError(f'{name}: {error}') from error
                rows.append(self.row(name, None, bn, features))
            return rows
        rows = _flat(gather(work))
        # A network without BN layers has nothing to reset, and needs no second row.
        plain = {f'{name}, own BN' for name, _, reset in networks if reset} & {
            f'{row.name}, own BN' for row in rows if row.bn == 'own'}
        return [row for row in rows if row.name not in plain]

    def exact(self, subnets: Sequence[int], share_prefixes: bool = True) -> list[RoutingRow]:
        """Each sub-net with its own BN reset, on all images; as a tree, if that may be and changes nothing."""
        if share_prefixes and self.session.bn.shared and len(subnets) > 1:
            return self.shared(subnets, self.session.bn)

        def work() -> list[RoutingRow]:
            rows = []
            for subnet in progress(share(subnets), desc='sub-nets'):
                name = f'sub-net {subnet}'
                try:
                    bn, features = self.session.features(
                        self.session.subnet(subnet), subnet, self.session.bn.mode != 'none')
                except InputError as error:
                    raise InputError(f'{name}: {error}') from error
                rows.append(self.row(name, subnet, bn, features))
            return rows
        return _flat(gather(work))

    def shared(self, subnets: Sequence[int], bn: BNReset) -> list[RoutingRow]:
        """All images in walks through the tree of prefixes, with BN statistics of the same images for all."""
        session, space = self.session, self.session.backbone.space
        parts = session.tree.parts([space.path(subnet) for subnet in subnets], len(session.readable),
                                   dist.get_world_size())

        def work() -> list[RoutingRow]:
            rows = []
            for part in share(parts):
                source = session.reset_tree(bn, part)
                features = session.tree_features(part)
                for path in progress(part, desc='scores'):
                    index = space.index(path)
                    rows.append(self.row(f'sub-net {index}', index, source, features.pop(path)))
            return rows
        return _flat(gather(work))

    def label_free(self, per_cluster: int) -> dict[int, float]:
        """The share of the task's images that falls to each sub-net's cluster, by one pass of the super-net."""
        session = self.session
        assert session.pool is not None and session.pool.clusters is not None and session.pool_images is not None
        clusters, pool = session.pool.clusters, session.pool_images

        def work() -> list[float] | None:
            if dist.get_rank():
                return None
            network = session.supernet()
            chosen, cluster = choose_members(clusters, per_cluster, session.bn.seed)
            readable = np.array([pool.decode(index) is not None for index in chosen])
            chosen, cluster = chosen[readable], cluster[readable]
            missing = sorted(set(range(clusters.num_clusters)) - set(cluster.tolist()))
            if missing:
                raise InputError(f'no readable image of cluster {missing[0]} is among the {per_cluster} that were '
                                 f'chosen: replace the damaged images of pre-training')
            members = session.network_features(network, pool, chosen)
            images = session.network_features(network, session.images, session.readable)
            return cluster_shares(images, members, cluster).tolist()

        shares = gather(work)[0]
        assert shares is not None
        return {int(subnet): share for subnet, share in zip(clusters.subnets, shares)}


def shortlisted(rows: Iterable[RoutingRow], finalists: int) -> tuple[list[int], list[RoutingRow]]:
    """The best sub-nets of a screening, and rows of the others that say so."""
    ranked = sorted(rows, key=lambda row: (*row.place, row.subnet))
    best = [row.subnet for row in ranked[:finalists] if row.subnet is not None]
    return best, [replace(row, left=1, shortlist=row.score) for row in ranked[finalists:]]


def _flat(parts: Iterable[list[RoutingRow]]) -> list[RoutingRow]:
    return [row for part in parts for row in part]
