"""What the paper reports, to be set beside our numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

TASKS = dict(
    fgvc_aircraft='Aircraft',
    caltech101='Caltech',
    stanford_cars='Cars',
    cifar10='C10',
    cifar100='C100',
    dtd='DTD',
    flowers102='Flowers',
    food101='Food',
    oxford_pets='Pets',
    sun397='SUN',
    voc2007='VOC')
"""The columns of Tables 1 and 3 in their order: name of our config of the task, and what the paper calls it."""

DETECTION_SCORES = ('AP', 'AP50', 'AP75')
"""The columns of Table 2, as our metric names them too."""

SUPERVISED = 'Supervised'
"""The row that is no self-supervised network: the paper leaves it out where it marks the best."""

DETECTION_ITERATIONS = 24000
"""Appendix A: how long the detectors of Table 2 were fine-tuned."""


@dataclass(frozen=True)
class PaperRow:
    """What a table says of one network.

    Args:
        facts (tuple[str, ...]): What it says beside the scores, in the order of :attr:`PaperTable.facts`.
        scores (Mapping[str, float]): Per cent by the key of the column.
        average (float, optional): As printed. Defaults to None: the table has none.
    """

    facts: tuple[str, ...]
    scores: Mapping[str, float]
    average: float | None = None

    def mean(self, tasks: Sequence[str]) -> float | None:
        """Average over some of the eleven tasks, the printed one over all; None if a score is not known."""
        if set(tasks) == set(TASKS):
            return self.average
        known = [self.scores[task] for task in tasks if task in self.scores]
        return sum(known) / len(known) if known and len(known) == len(tasks) else None


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Args:
        number (int): Of the table.
        facts (tuple[str, ...]): Titles of what it says of each network beside its scores.
        rows (Mapping[str, PaperRow]): By the name of the network.
    """

    number: int
    facts: tuple[str, ...]
    rows: Mapping[str, PaperRow]

    def names(self, others: Iterable[str]) -> list[str]:
        """All networks in the paper's order, then those of ``others`` that it has not."""
        return [*self.rows, *(name for name in others if name not in self.rows)]


def _read(text: str, facts: int, columns: Sequence[str], averaged: bool = True) -> dict[str, PaperRow]:
    """Rows from lines of name, facts, scores and average."""
    rows = {}
    for line in text.strip().splitlines():
        name, *rest = line.rsplit(maxsplit=facts + len(columns) + averaged)
        numbers = [float(number) for number in rest[facts:]]
        average = numbers.pop() if averaged else None
        rows[name] = PaperRow(tuple(rest[:facts]), dict(zip(columns, numbers, strict=True)), average)
    return rows


# DeepCluster-v2 and SwAV are the official weights; SimSiam and BYOL are the authors' own runs, as long as SDR's.
# The printed average of InsDis is 0.0055 above the mean of its row.
TABLE1 = PaperTable(1, ('epochs', ), _read("""
Supervised           90  43.59 90.18 44.92 91.42 73.90 72.23 89.93 69.49 91.45 60.49 83.60  73.75
InsDis              200  36.87 71.12 28.98 80.28 59.97 68.46 83.44 63.39 68.78 49.47 74.37  62.29
MoCo-v1             200  35.55 75.33 27.99 80.16 57.71 68.83 82.10 62.10 69.84 51.02 75.93  62.41
PIRL                200  37.08 74.48 28.72 82.53 61.26 68.99 83.60 64.65 71.36 53.89 76.61  63.92
PCL-v1              200  21.61 76.90 12.93 81.84 55.74 62.87 64.73 48.02 75.34 45.70 78.31  56.73
PCL-v2              200  37.03 86.42 30.51 91.91 73.54 70.59 85.34 64.88 82.76 56.25 81.14  69.12
MoCo-v2             800  41.79 87.92 39.31 92.28 74.90 73.88 90.07 68.95 83.30 60.32 82.69  72.31
SimCLR-v1          1000  44.90 90.05 43.73 91.18 72.73 74.20 90.87 67.47 83.33 59.21 80.77  72.59
SimCLR-v2           800  46.38 89.63 50.37 92.53 76.78 76.38 92.90 73.08 84.72 61.47 81.57  75.07
InfoMin             800  38.58 87.84 41.04 91.49 73.43 74.73 87.18 69.53 86.24 61.00 83.24  72.21
SeLa-v2             400  37.29 87.20 36.86 92.73 74.81 74.15 90.22 71.08 83.22 62.71 82.73  72.09
DeepCluster-v2      400  48.75 90.52 50.94 94.15 79.33 76.70 93.98 75.90 86.78 65.41 84.30  76.98
SwAV                400  51.37 89.65 52.59 93.39 78.72 78.09 93.94 75.92 86.81 63.55 83.92  77.09
SimSiam             200  51.30 87.02 53.80 89.12 68.43 72.99 91.83 67.35 83.64 52.97 83.40  72.90
SDR (SimSiam)       200  55.84 87.55 61.06 90.27 71.39 74.47 92.61 68.93 85.03 55.89 85.02  75.28
BYOL (200 epochs)   200  45.46 87.82 45.91 91.42 74.37 73.14 90.95 73.13 84.62 56.43 81.99  73.20
BYOL (400 epochs)   400  48.93 90.39 54.43 92.12 75.97 76.65 94.50 74.13 87.81 57.99 82.48  75.95
SDR (BYOL)          400  52.51 91.12 56.09 94.27 79.90 76.33 94.75 76.98 89.86 63.62 85.12  78.23
""", 1, [*TASKS]))
"""Classification by the linear (many-shot) protocol, images of short side 256 and crop 224 (appendix A)."""

# The paper prints PCL-v2 as "PCL-v" here, and does not say how long BYOL was pre-trained.
TABLE2 = PaperTable(2, (), _read("""
Supervised      53.26 81.51 59.07
InsDis          48.82 76.43 52.40
MoCo-v1         50.51 78.06 54.55
PIRL            45.08 72.50 47.80
PCL-v1          53.93 81.69 59.33
PCL-v2          53.92 81.89 59.35
MoCo-v2         44.74 72.82 47.01
SimCLR-v1       52.19 81.36 56.92
SimCLR-v2       51.42 79.40 55.89
InfoMin         44.92 72.72 47.41
SeLa-v2         50.41 80.55 54.35
DeepCluster-v2  51.03 80.93 55.51
SwAV            52.07 81.50 56.03
SimSiam         54.17 80.09 59.58
SDR (SimSiam)   55.65 81.16 60.89
BYOL            52.75 81.83 58.35
SDR (BYOL)      53.53 82.69 59.25
""", 0, DETECTION_SCORES, averaged=False))
"""Detection, trained on VOC trainval07+12 and scored on test2007: Faster R-CNN FPN, all layers fine-tuned."""

# The rows SimSiam and SDR (SimSiam) are those of Table 1.
TABLE3 = PaperTable(3, ('data set', 'parameters'), _read("""
SimSiam                             IN 23.5M  51.30 87.02 53.80 89.12 68.43 72.99 91.83 67.35 83.64 52.97 83.40  72.90
SDR (all images)                    IN 22.6M  51.95 86.79 55.62 88.60 67.54 72.09 91.83 67.66 82.44 51.58 81.42  72.50
SDR (random clusters)           Random 22.6M  48.21 86.23 50.25 86.62 64.41 72.29 92.47 64.45 82.21 50.39 80.13  70.70
SimSiam 56.3M                       IN 56.3M  52.31 87.46 54.50 90.05 68.75 73.19 93.11 68.56 83.34 53.27 83.90  73.49
SimSiam 56.3M pruned to 22.6M       IN 22.6M  43.82 63.00 37.72 80.51 50.10 62.81 73.64 50.24 61.43 32.72 68.62  56.78
SDR (SimSiam)                  Cluster 22.6M  55.84 87.55 61.06 90.27 71.39 74.47 92.61 68.93 85.03 55.89 85.02  75.28
""", 2, [*TASKS]))
"""What clusters and sub-nets do, by the protocol of Table 1: on which images each sub-net was trained, and its size."""

_SUBNETS = _read("""
SimSiam                        1  260  53.42
SDR (SimSiam), 4 sub-nets      4  370  55.77
SDR (SimSiam), 16 sub-nets    16  400  56.83
SDR (SimSiam), 64 sub-nets    64  460  57.83
SDR (SimSiam)                256  500  58.13
""", 2, ())
TABLE4 = PaperTable(4, ('sub-nets', 'GPU hours', 'times the baseline'), {
    name: replace(row, facts=(*row.facts, f'{float(row.facts[1]) / float(_SUBNETS["SimSiam"].facts[1]):.2f}'))
    for name, row in _SUBNETS.items()})
"""kNN with k = 200, averaged over the eleven tasks (no more is printed), and what pre-training took; the ratio is ours.

One sub-net is the baseline, 256 are the SDR of the other tables.
"""

TABLES = {table.number: table for table in (TABLE1, TABLE2, TABLE3, TABLE4)}
