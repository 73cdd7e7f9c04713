"""What a detector of MMDetection needs beside a backbone, and how to choose that backbone.

VOC-format data, the VOC metric, MoCo's C4 head; routing by early stopping.

A package of its own, because it is the only one that needs MMDetection and mmcv's compiled operators: its
import says so if they are not there. Configs load it with ``custom_imports = dict(imports=['sdr_mm.detection'])``.
"""

from .requirements import require_mmdet

require_mmdet()

from .divergence import FiniteLossHook  # noqa: E402
from .early_stop_loop import EarlyStopLoop  # noqa: E402
from .extra_norm import ExtraNormResLayer  # noqa: E402
from .routing import DetectionRoutingEvaluator  # noqa: E402
from .seeded_batches import NumberedBatches, SeededDataset  # noqa: E402
from .shortlist import Shortlist  # noqa: E402
from .state_hook import StateHook  # noqa: E402
from .voc_dataset import VOCFolder  # noqa: E402
from .voc_metric import VOCDetectionMetric  # noqa: E402

__all__ = [
    'DetectionRoutingEvaluator', 'EarlyStopLoop', 'ExtraNormResLayer', 'FiniteLossHook', 'NumberedBatches',
    'SeededDataset', 'Shortlist', 'StateHook', 'VOCDetectionMetric', 'VOCFolder'
]
