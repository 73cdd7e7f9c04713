"""The transform that keeps what other transforms made of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform, Compose

from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class Cached(BaseTransform):
    """Runs transforms once an image and keeps the result in memory, for images that all fit into it.

    The pixels of 20,000 images of 32 × 32 are 61 MB. Each process of the loader keeps its own, so it is best with
    ``num_workers=0``, beside :class:`~sdr_mm.models.BatchedViews`, which leaves nothing else for these processes to do.

    Args:
        transforms (Sequence[dict]): What to run; nothing in it may be random. They find the image by ``img_path``.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]]) -> None:
        self.transforms = Compose(transforms)
        self._kept: dict[str, dict[str, Any] | None] = {}

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """What the transforms give for ``results['img_path']``; None if they skip the image."""
        path = results['img_path']
        if path not in self._kept:
            self._kept[path] = self.transforms(dict(results))
        kept = self._kept[path]
        return None if kept is None else {**results, **kept}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms})'
