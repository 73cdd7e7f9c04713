"""How good clusters are: balance, and purity where labels exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..clusters import Clusters
from ..text_table import text_table


@dataclass(frozen=True)
class ClusterReport:
    """Figures about clusters; images of no cluster are left out except in ``unassigned``.

    Args:
        num_clusters (int): ``k``.
        num_images (int): Images in clusters.
        unassigned (int): Images in none.
        smallest (int): Images of the smallest cluster.
        mean (float): Images of a cluster on average.
        largest (int): Images of the largest cluster.
        empty (int): Number of empty clusters.
        balance (float): Entropy of the sizes over ``log k``: 1 is equal sizes, 0 all in one.
        purity (float, optional): Share of images that belong to the most frequent class of their cluster; None without
            labels.
        nmi (float, optional): Normalized mutual information of clusters and classes, 0 to 1.
    """

    num_clusters: int
    num_images: int
    unassigned: int
    smallest: int
    mean: float
    largest: int
    empty: int
    balance: float
    purity: float | None = None
    nmi: float | None = None

    def table(self) -> str:
        """Two columns of text."""
        rows = [
            ('images', f'{self.num_images}' + (f' (+ {self.unassigned} undecodable)' if self.unassigned else '')),
            ('size min / mean / max', f'{self.smallest} / {self.mean:.1f} / {self.largest}'),
            ('empty clusters', f'{self.empty}'),
            ('balance (entropy, 1 = equal)', f'{self.balance:.4f}'),
        ]
        if self.purity is not None and self.nmi is not None:
            rows += [('purity', f'{self.purity:.4f}'), ('NMI with the labels', f'{self.nmi:.4f}')]
        return text_table(('clusters', f'{self.num_clusters}'), rows, left=(0, 1))


def evaluate_clusters(clusters: Clusters, labels: np.ndarray | None = None) -> ClusterReport:
    """Measures clusters.

    Args:
        clusters (Clusters): The clusters.
        labels (np.ndarray, optional): (n,) int64, class of each image. Defaults to None.
    """
    from sklearn.metrics import normalized_mutual_info_score

    sizes = clusters.sizes()
    k, total = clusters.num_clusters, int(sizes.sum())
    share = sizes[sizes > 0] / max(total, 1)
    balance = float(-(share * np.log(share)).sum() / np.log(k)) if k > 1 else 1.0
    purity = nmi = None
    if labels is not None and total:
        assigned = clusters.assignment >= 0
        cluster, label = clusters.assignment[assigned], np.unique(labels[assigned], return_inverse=True)[1]
        counts = np.zeros((k, label.max() + 1), dtype=np.int64)
        np.add.at(counts, (cluster, label), 1)
        purity = float(counts.max(axis=1).sum() / total)
        nmi = float(normalized_mutual_info_score(label, cluster))
    return ClusterReport(k, total, int((clusters.assignment < 0).sum()), int(sizes.min()), total / k,
                         int(sizes.max()), int((sizes == 0).sum()), balance, purity, nmi)
