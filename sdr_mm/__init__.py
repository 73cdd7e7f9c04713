"""Scalable Dynamic Routing (AAAI 2022): one pre-training run, a backbone for every task.

Importing this package makes the scope ``sdr_mm`` known to every OpenMMLab registry.
"""

import warnings

# Two warnings of mmcv about which nobody here can do anything: that mmcv-lite has no operators, at its
# import, and that its own color transform passes itself an argument, at every image.
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
warnings.filterwarnings('ignore', message="Only use 'alpha' for pillow backend")

from . import registry  # noqa: E402, F401
from .resume import allow_checkpoints  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ['__version__']

allow_checkpoints()
