"""Reading, listing and keeping image files. The ground floor: nothing here knows a network."""

from .listing import find_images, fingerprint, image_names
from .normalization import IMAGENET, ZERO_TO_ONE, Normalization
from .reading import open_rgb, read_rgb
from .store import ImageSource, ImageStore, resize_and_crop

__all__ = [
    'IMAGENET', 'ZERO_TO_ONE', 'ImageSource', 'ImageStore', 'Normalization', 'find_images', 'fingerprint',
    'image_names', 'open_rgb', 'read_rgb', 'resize_and_crop'
]
