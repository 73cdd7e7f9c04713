"""From features of images to ``clusters.npz`` (section 4.2 of the paper).

Only the result is imported here; the methods and the features import torch, faiss and the OpenMMLab
packages, which those who read ``clusters.npz`` do not need.
"""

from ..clusters import Clusters
from ..images import fingerprint

__all__ = ['Clusters', 'fingerprint']
