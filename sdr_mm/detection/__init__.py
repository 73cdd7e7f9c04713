"""What a detector of MMDetection needs beside a backbone, and how to choose that backbone.

VOC-format data, the VOC metric, MoCo's C4 head; routing by early stopping.

The only subpackage that needs MMDetection and mmcv's compiled operators: its import says so if they are not
there. Configs load it with ``custom_imports = dict(imports=['sdr_mm.detection'])``.
"""

from importlib import import_module

from ..errors import InputError

for _module, _what in (('mmcv.ops', 'mmcv with its compiled operators for this version of torch'),
                       ('mmdet.models', 'MMDetection')):
    try:
        import_module(_module)
    except ImportError as error:
        raise InputError(f'detection needs {_what}, which this environment lacks ({error}): set up the full '
                         f"environment, 'make .venv-full/.installed', and use its python") from error

from .extra_norm import ExtraNormResLayer  # noqa: E402
from .fine_tuning import PartialTrainLoop  # noqa: E402
from .ranking import DetectionRanking  # noqa: E402
from .routing import DetectionRoutingEvaluator  # noqa: E402
from .shortlist import Shortlist  # noqa: E402
from .voc import VOCDetectionMetric, VOCFolder  # noqa: E402

__all__ = [
    'DetectionRanking', 'DetectionRoutingEvaluator', 'ExtraNormResLayer', 'PartialTrainLoop', 'Shortlist',
    'VOCDetectionMetric', 'VOCFolder'
]
