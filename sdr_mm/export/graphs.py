"""Networks that run without the code of their classes: ONNX and ``torch.export``.

Both take normalized images ``(batch, C, size, size)``, where the batch is free, and return pooled features ``(batch,
D)``. The normalization is not part of the graph, as in every other format: it is in the record and on the model card.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import atomic_write
from ..models.checkpoints import RECORD, import_extra
from .exported import Exported

IMAGES, FEATURES = 'images', 'features'
"""What the input and the output of a graph are called."""


def write_onnx(exported: Exported, file: Path, overwrite: bool) -> None:
    """An ONNX model with its weights inside, checked by ONNX and, where it is installed, run by ONNX Runtime."""
    onnx = import_extra('onnx', 'the format onnx', 'export')
    import_extra('onnxscript', 'the format onnx', 'export')
    program = _program(exported)
    with atomic_write(file, overwrite) as temporary:
        with _quiet('torch.onnx', 'onnxscript', 'onnx_ir'):
            model: Any = torch.onnx.export(program, dynamo=True, input_names=[IMAGES], output_names=[FEATURES],
                                           external_data=False, verbose=False)
        model.model.metadata_props[RECORD] = exported.record
        model.save(str(temporary), external_data=False)
        onnx.checker.check_model(str(temporary), full_check=True)
        if find_spec('onnxruntime') is not None:
            exported.check_same(_Session(temporary), file)


def write_torch_export(exported: Exported, file: Path, overwrite: bool) -> None:
    """A ``.pt2`` archive of :func:`torch.export.save`, with the record as its extra file ``sdr_mm.json``."""
    extra = f'{RECORD}.json'
    program = _program(exported)
    with atomic_write(file, overwrite) as temporary:
        with open(temporary, 'wb') as stream:  # A name must end in .pt2.
            torch.export.save(program, stream, extra_files={extra: exported.record})
        found = {extra: ''}
        with open(temporary, 'rb') as stream:
            again = torch.export.load(stream, extra_files=found)
        if found[extra] != exported.record:
            raise RuntimeError(f'{file} did not come back as it was written')
        exported.check_same(again.module(), file)


def _program(exported: Exported) -> torch.export.ExportedProgram:
    """The graph of the features for any batch."""
    exported.state  # noqa: B018 - refuses weights that are not finite
    shape = {IMAGES: {0: torch.export.Dim('batch')}}
    zeros = torch.zeros_like(exported.noise(2))
    program = torch.export.export(exported.features, (zeros, ), dynamic_shapes=shape)
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # names folders of this machine
    return program


class _Session(nn.Module):
    """An ONNX model in ONNX Runtime, on one thread of the CPU."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run([FEATURES], {IMAGES: images.numpy()})[0])


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without the remarks of these loggers, and warnings that are for their authors."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            warnings.simplefilter('ignore', DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
