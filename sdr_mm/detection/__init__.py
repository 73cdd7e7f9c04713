"""What a detector of MMDetection needs beside a backbone: VOC-format data, the VOC metric, MoCo's C4 head.

A package of its own, because it is the only one that needs MMDetection and mmcv's compiled operators: its
import says so if they are not there. Configs load it with ``custom_imports = dict(imports=['sdr_mm.detection'])``.
"""

from .requirements import require_mmdet

require_mmdet()

from .extra_norm import ExtraNormResLayer  # noqa: E402
from .voc_dataset import VOCFolder  # noqa: E402
from .voc_metric import VOCDetectionMetric  # noqa: E402

__all__ = ['ExtraNormResLayer', 'VOCDetectionMetric', 'VOCFolder']
