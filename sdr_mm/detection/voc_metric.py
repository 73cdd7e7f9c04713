"""AP, AP50 and AP75 on PASCAL VOC, as the transfer protocol of MoCo reports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from ..registry import METRICS
from .voc_ap import Detections, Objects, voc_average_precision

THRESHOLDS = tuple(twentieth / 20 for twentieth in range(10, 20))
"""Intersection over union: 0.50, 0.55, …, 0.95."""

COLUMNS = {'AP': slice(None), 'AP50': slice(0, 1), 'AP75': slice(5, 6)}
"""Which of :data:`THRESHOLDS` a number is the mean of."""


@METRICS.register_module()
class VOCDetectionMetric(BaseMetric):
    """Mean over the classes of the 11-point average precision, in per cent.

    ``AP`` is the mean over the overlaps 0.50, 0.55, …, 0.95, ``AP50`` and ``AP75`` are those at 0.50 and
    0.75. Difficult objects count neither way. MMDetection's ``VOCMetric`` gives AP50 by default; with
    ``iou_thrs`` it reaches the same numbers, but rounds two of them to 0.1, logs a table for each overlap, and
    computes the overlaps anew for each.

    Args:
        collect_device (str): Where results of the ranks are gathered. Defaults to 'cpu'.
        prefix (str, optional): Put before the names of the numbers. Defaults to 'pascal_voc'.
    """

    default_prefix: str | None = 'pascal_voc'

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keeps the true and found boxes of a batch."""
        for sample in data_samples:
            found, true, difficult = (sample[part] for part in ('pred_instances', 'gt_instances', 'ignored_instances'))
            boxes, labels = (np.concatenate([_array(true[name]), _array(difficult[name])])
                             for name in ('bboxes', 'labels'))
            self.results.append((
                Detections(_array(found['bboxes']), _array(found['labels']), _array(found['scores'])),
                Objects(boxes, labels, np.arange(len(labels)) >= len(true['labels'])),
            ))

    def compute_metrics(self, results: list[tuple[Detections, Objects]]) -> dict[str, float]:
        """The three numbers, in per cent; those of the single classes go to the log."""
        detections, objects = zip(*results)
        classes = self.dataset_meta['classes']  # type: ignore[index]
        rows = []
        for label, name in enumerate(classes):
            values, count = voc_average_precision(detections, objects, label, THRESHOLDS)
            rows.append((name, count, {column: 100 * float(values[part].mean()) for column, part in COLUMNS.items()}))
        # Like MMDetection, without the classes of which there is nothing to find.
        known = [scores for _, count, scores in rows if count]
        mean = {column: float(np.mean([scores[column] for scores in known])) if known else 0.0 for column in COLUMNS}
        if len(rows) > 1:
            rows.append(('all', sum(count for _, count, _ in rows), mean))
        MMLogger.get_current_instance().info('\n' + table(rows))
        return mean


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


def table(rows: Sequence[tuple[str, int, dict[str, float]]]) -> str:
    """Markdown of name, number of objects and scores, one line for each row."""
    width = max(len('class'), *(len(name) for name, _, _ in rows))
    lines = [f'| {"class":<{width}} | objects | ' + ' | '.join(f'{column:>6}' for column in COLUMNS) + ' |',
             f'|{"-" * (width + 2)}|--------:|' + '-------:|' * len(COLUMNS)]
    for name, count, scores in rows:
        cells = ' | '.join(f'{scores[column]:6.2f}' if count else '     –' for column in COLUMNS)
        lines.append(f'| {name:<{width}} | {count:7d} | {cells} |')
    return '\n'.join(lines)
