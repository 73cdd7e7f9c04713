"""Data sets of images, their clusters, and the order in which the networks see them."""

from .cached import Cached
from .cluster_dataset import ClusterDataset
from .color_jitter import ColorJitter
from .crop_views import CropViews
from .image_folder import ImageFolder
from .loading import LoadImage, ResizeAndCrop
from .sampler import ClusterAwareSampler
from .schedule import PhaseSchedule
from .transfer_splits import TransferCaltech101, TransferDTD

__all__ = [
    'Cached', 'ClusterAwareSampler', 'ClusterDataset', 'ColorJitter', 'CropViews', 'ImageFolder', 'LoadImage',
    'PhaseSchedule', 'ResizeAndCrop', 'TransferCaltech101', 'TransferDTD'
]
