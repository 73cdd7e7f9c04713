"""The transform that decodes an image once and cuts the crops of all its views out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image

from ..errors import InputError
from ..images.crops import FILTERS, Box, EncodedCrops, cut, plain_jpeg
from ..images.dali import check_dali
from ..registry import TRANSFORMS
from .loading import LoadImage


@TRANSFORMS.register_module()
class CropViews(RandomResizedCrop):
    """Decodes an image once, and cuts a random crop for each view out of it: what a worker of the loader has to do.

    It takes the place of ``LoadImage`` and of the first step of the views of ``MultiView``, MMPretrain's
    ``RandomResizedCrop(backend='pillow')``: crops are drawn by its code and have its pixels. The other steps are for
    :class:`~sdr_mm.models.BatchedColors`, which takes whole batches.

    A JPEG of which all crops are much larger than a view is decoded at half, a quarter or an eighth of its size, which
    is faster, and changes what the crops look like by a level or two.

    With ``decoder='dali'`` NVIDIA DALI decodes JPEGs and cuts the same crops in whole batches, where the model runs: on
    a GPU, if it is there. What is no upright JPEG of gray values or YCbCr is decoded here as ever. DALI decodes JPEGs
    at their size; crops differ by a level, and by some at their rim. An image that is found to be damaged only when it
    is decoded stops the training, whatever ``on_error`` says.

    Required keys: ``img_path``. Added keys: ``img``, a list with (size, size, 3) uint8 in the order BGR for each view,
    or with DALI ``crops`` instead, that or an :class:`~sdr_mm.images.crops.EncodedCrops`, which ``PackInputs`` hands on
    if its ``meta_keys`` have it; ``img_shape``, (size, size), and ``ori_shape``, (H, W).

    Args:
        transforms (Sequence[dict]): What loads the image: a :class:`LoadImage`, and nothing else.
        size (int): Side of a crop in pixels after it is resized.
        num_views (int): Defaults to 2.
        reducing_gap (float): How many times larger than ``size`` each crop of a JPEG that is decoded smaller must still
            be, 1 at least. Infinity decodes all JPEGs at their size. Defaults to 2, at which resizing does nearly all
            of the smoothing, as it does without.
        decoder (str): ``'pillow'`` or ``'dali'``. Defaults to ``'pillow'``.
        **kwargs: ``crop_ratio_range``, ``aspect_ratio_range``, ``max_attempts`` and ``interpolation``, bilinear (the
            default) or bicubic, as for ``RandomResizedCrop``.

    Raises:
        InputError: If an argument is out of range, or DALI is not installed; from the call, if the image cannot be
            decoded.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]], size: int, num_views: int = 2, reducing_gap: float = 2.0,
                 decoder: str = 'pillow', **kwargs: Any) -> None:
        loaders = Compose(transforms).transforms
        if len(loaders) != 1 or not isinstance(loaders[0], LoadImage):
            raise InputError('CropViews decodes images itself: let its transforms be one sdr_mm.LoadImage')
        filter_name = kwargs.get('interpolation', 'bilinear')
        if size < 1 or num_views < 1 or not reducing_gap >= 1 or filter_name not in FILTERS:
            raise InputError('CropViews needs size >= 1, num_views >= 1, reducing_gap >= 1 and bilinear or bicubic '
                             f'interpolation, got size={size}, num_views={num_views}, reducing_gap={reducing_gap} and '
                             f'interpolation={filter_name!r}')
        if decoder not in ('pillow', 'dali'):
            raise InputError(f"the decoder of CropViews is 'pillow' or 'dali', got {decoder!r}")
        if decoder == 'dali':
            check_dali()
        super().__init__(size, backend='pillow', **kwargs)
        self.load: LoadImage = loaders[0]
        self.size, self.num_views, self.reducing_gap, self.decoder = size, num_views, reducing_gap, decoder

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds the crops to ``results``; None if the image is to be skipped."""
        path = results['img_path']
        found = self.decoder == 'dali' and self._cut_later(path) or self._cut_now(path)
        if found is None:
            return None
        crops, results['ori_shape'] = found
        results['img' if self.decoder == 'pillow' else 'crops'] = crops
        results['img_shape'] = (self.size, self.size)
        return results

    def _cut_later(self, path: str) -> tuple[EncodedCrops, tuple[int, int]] | None:
        """What DALI needs for the crops, and the shape of the image; None if the file is not for DALI."""
        jpeg = plain_jpeg(path, self.load.max_pixels)
        if jpeg is None:
            return None
        data, height, width = jpeg
        return EncodedCrops(path, data, self.draw(height, width), self.size, self.interpolation), (height, width)

    def _cut_now(self, path: str) -> tuple[list[np.ndarray], tuple[int, int]] | None:
        """The crops, and the shape of the image; None if it is to be skipped."""
        boxes: list[Box] = []
        shape, factor = (0, 0), 1

        def reduction(height: int, width: int) -> int:
            nonlocal boxes, shape, factor
            boxes, shape = self.draw(height, width), (height, width)
            factor = self.reduction(boxes)
            return factor

        image = self.load.open(path, reduction)
        if image is None:
            return None
        if not boxes:  # It is no JPEG, or a turned one.
            shape = (image.height, image.width)
            boxes = self.draw(*shape)
        return [self.cut(image, box, factor) for box in boxes], shape

    def draw(self, height: int, width: int) -> list[Box]:
        """Draws the crop of each view of an image from NumPy's generator, as the base class does."""
        # The base class looks at the shape of the image only.
        image = np.broadcast_to(np.uint8(0), (height, width))
        return [Box(*self.rand_crop_params(image)) for _ in range(self.num_views)]

    def reduction(self, boxes: Sequence[Box]) -> int:
        """How many times smaller an image may be decoded that has these crops: 1, 2, 4 or 8."""
        least = min(min(box.height, box.width) for box in boxes) / (self.reducing_gap * self.size)
        return next((factor for factor in (8, 4, 2) if least >= factor), 1)

    def cut(self, image: Image.Image, box: Box, factor: int = 1) -> np.ndarray:
        """Resizes a crop of an image that was decoded ``factor`` times smaller, (size, size, 3) uint8, BGR."""
        return cut(image, box, self.size, self.interpolation, factor)

    def __repr__(self) -> str:
        return (f'{super().__repr__()[:-1]}, transforms=[{self.load}], num_views={self.num_views}, '
                f'reducing_gap={self.reducing_gap}, decoder={self.decoder!r})')
