"""NVIDIA DALI decodes JPEGs in batches, on the GPU or the threads of a CPU, and cuts and resizes crops."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from ..errors import InputError
from .crops import EncodedCrops

THREADS = min(8, os.cpu_count() or 1)
"""Threads of DALI in each process. On a GPU they do what comes before its part."""


def check_dali() -> None:
    """Says before the work that DALI is missing; does not import it.

    Raises:
        InputError: If it is not installed.
    """
    try:
        found = find_spec('nvidia.dali') is not None
    except ModuleNotFoundError:  # nothing of NVIDIA is
        found = False
    if not found:
        raise InputError("decoder='dali' needs NVIDIA DALI: pip install 'sdr-mm[dali]', or let the pipeline have "
                         "decoder='pillow'")


class DaliCrops:
    """Makes crops of batches of JPEGs. The boxes are given, so that DALI draws nothing.

    Args:
        device (torch.device): Where the crops are to be, and are made.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pipelines: dict[tuple[int, int, str], Any] = {}

    def __call__(self, crops: Sequence[EncodedCrops]) -> list[Tensor]:
        """For each view (n, 3, size, size) uint8, BGR, of n images whose crops have one size and interpolation.

        Raises:
            InputError: If an image cannot be decoded.
        """
        views = len(crops[0].boxes)
        key = (views, crops[0].size, crops[0].interpolation)
        pipeline = self._pipelines.get(key)
        if pipeline is None or pipeline.max_batch_size < len(crops):
            pipeline = self._pipelines[key] = self._build(len(crops), *key)
        boxes = np.array([image.boxes for image in crops], np.float32)
        try:
            pipeline.feed_input('jpegs', [image.data for image in crops])
            for view in range(views):
                pipeline.feed_input(f'start{view}', list(boxes[:, view, :2]))
                pipeline.feed_input(f'extent{view}', list(boxes[:, view, 2:]))
            found = [self._to_torch(images) for images in pipeline.run()]
        except RuntimeError as error:
            del self._pipelines[key]  # DALI does not promise that it goes on after an error.
            pillow = [image.decode() for image in crops]  # says which file it is, if it is damaged
            print_log(f'Pillow decodes {len(crops)} images that DALI does not: {str(error).splitlines()[0]}',
                      logger='current', level=logging.WARNING)
            found = [torch.from_numpy(np.stack(view)).to(self.device) for view in zip(*pillow)]
        return [images.permute(0, 3, 1, 2) for images in found]

    def _build(self, batch: int, views: int, size: int, interpolation: str) -> Any:
        from nvidia.dali import Pipeline, fn, types

        on_gpu = self.device.type == 'cuda'
        number = self.device.index
        if on_gpu and number is None:  # of a model's 'cuda'; to DALI it would mean no GPU
            number = torch.cuda.current_device()
        pipeline = Pipeline(batch, THREADS, number if on_gpu else None, prefetch_queue_depth=1, exec_async=False,
                            exec_pipelined=False)
        filters = dict(bilinear=types.DALIInterpType.INTERP_LINEAR, bicubic=types.DALIInterpType.INTERP_CUBIC)
        with pipeline:
            jpegs = fn.external_source(name='jpegs', dtype=types.DALIDataType.UINT8, ndim=1)
            images = fn.decoders.image(jpegs, device='mixed' if on_gpu else 'cpu', output_type=types.DALIImageType.BGR)
            outputs = []
            for view in range(views):
                start, extent = (fn.external_source(name=f'{name}{view}', dtype=types.DALIDataType.FLOAT, ndim=1)
                                 for name in ('start', 'extent'))
                crops = fn.slice(images, start, extent, axes=(0, 1), normalized_anchor=False, normalized_shape=False)
                # The filter of Pillow grows with the crop, too.
                outputs.append(fn.resize(crops, size=(size, size), interp_type=filters[interpolation], antialias=True))
            pipeline.set_outputs(*outputs)
        pipeline.build()
        return pipeline

    def _to_torch(self, images: Any) -> Tensor:
        if self.device.type != 'cuda':
            return torch.from_numpy(images.as_array())
        from nvidia.dali.plugin.pytorch import feed_ndarray

        dense = images.as_tensor()
        copy = torch.empty(dense.shape(), dtype=torch.uint8, device=self.device)
        return feed_ndarray(dense, copy, cuda_stream=torch.cuda.current_stream(self.device))


@cache
def dali_crops(device: torch.device) -> DaliCrops:
    """The one of this process for a device: pipelines are neither copied nor stored with a model."""
    return DaliCrops(device)
