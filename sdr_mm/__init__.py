"""Scalable Dynamic Routing (AAAI 2022): one pre-training run, a backbone for every task.

Importing this package makes the scope ``sdr_mm`` known to every OpenMMLab registry.
"""

from . import registry  # noqa: F401
from .resume import allow_checkpoints
from .version import __version__

__all__ = ['__version__']

allow_checkpoints()
