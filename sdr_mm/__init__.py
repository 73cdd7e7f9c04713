"""Scalable Dynamic Routing (AAAI 2022): one pre-training run, a backbone for every task.

Importing this package makes the scope ``sdr_mm`` known to every OpenMMLab registry, and the scopes of MMSelfSup and
MMClassification, whose names are read as MMPretrain's. It imports neither torch nor MMPretrain; the names of the front
door (:mod:`sdr_mm.api`) are imported when they are first used::

    sdr = sdr_mm.load('epoch_200.pth')
    ranking = sdr.route('my_images')
    sdr.subnet(ranking.best).export('backbone.pth')
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

# Two warnings of mmcv about which nobody here can do anything: that mmcv-lite has no operators, at its
# import, and that its own color transform passes itself an argument, at every image.
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
warnings.filterwarnings('ignore', message="Only use 'alpha' for pillow backend")

from . import mmselfsup, registry  # noqa: E402, F401
from .errors import InputError  # noqa: E402
from .version import __version__  # noqa: E402

if TYPE_CHECKING:
    from .api import SDR, Subnet, load

_API = ('SDR', 'Subnet', 'load')
__all__ = ['SDR', 'InputError', 'Subnet', '__version__', 'load']


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import api
    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
