"""Lets ``torch.load(weights_only=True)``, the default since torch 2.6, read MMEngine's checkpoints.

Without this, upstream MMEngine cannot resume: a checkpoint's message hub holds the few types below.
"""

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

torch.serialization.add_safe_globals([
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    # The functions that rebuild a pickled array and scalar, whose module depends on NumPy's version.
    np.empty(0).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
])
