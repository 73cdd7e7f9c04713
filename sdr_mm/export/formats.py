"""The formats of an export, and what writes each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write, check_output
from .exported import Exported
from .graphs import write_onnx, write_torch_export
from .huggingface import check_folder_output, write_huggingface
from .model_card import model_card
from .resnet_shape import check_resnet
from .weight_files import write_mmpretrain, write_safetensors, write_timm, write_torchvision


def write_mmdet(exported: Exported, file: Path, overwrite: bool) -> None:
    """The same file as for MMPretrain, of a ResNet, which is what MMDetection has under the same names."""
    check_resnet(exported, 'mmdet')
    write_mmpretrain(exported, file, overwrite)


WRITERS: dict[str, Callable[[Exported, Path, bool], None]] = {
    'mmpretrain': write_mmpretrain, 'mmdet': write_mmdet, 'torchvision': write_torchvision, 'timm': write_timm,
    'safetensors': write_safetensors, 'onnx': write_onnx, 'torch.export': write_torch_export,
    'huggingface': write_huggingface}
"""Each writes a file, the last one a folder, whole or not at all, and reads it back."""

FORMATS = tuple(WRITERS)


def check_outputs(out: str | Path, format: str, card: str | Path | None, overwrite: bool) -> None:
    """Refuses before the work what could not be written after it.

    Args:
        out (str | Path): The file or folder.
        format (str): One of :data:`FORMATS`.
        card (str | Path, optional): File of the model card.
        overwrite (bool): Whether what is there may be replaced.

    Raises:
        InputError: If there is no such format, the name does not fit it, or one of the two cannot be written.
    """
    if format not in WRITERS:
        raise InputError(f'there is no format {str(format)[:40]!r}: choose one of {", ".join(FORMATS)}')
    if format == 'huggingface':
        check_folder_output(Path(out), overwrite)
    else:
        check_output(out, overwrite)
    if format == 'safetensors' and Path(out).suffix != '.safetensors':
        raise InputError(f'{out} would not be known as safetensors: give a name that ends in .safetensors')
    check_output(card, overwrite)
    if card is not None and Path(card).absolute() == Path(out).absolute():
        raise InputError(f'{out} cannot be the export and its model card: give the card another name')


def export(exported: Exported, out: str | Path, format: str = 'mmpretrain', *, card: str | Path | None = None,
           overwrite: bool = False) -> None:
    """Writes an export, and reads it back.

    Args:
        exported (Exported): What is written.
        out (str | Path): The file, or the folder for ``'huggingface'``.
        format (str): One of :data:`FORMATS`. Defaults to 'mmpretrain'.
        card (str | Path, optional): File of the model card in Markdown. A folder for Hugging Face has it anyway.
            Defaults to None: no such file.
        overwrite (bool): Whether what is there may be replaced. Defaults to False.

    Raises:
        InputError: If the format does not exist, or cannot hold this network, or needs a package that is not
            installed; if a weight is not finite; or if something cannot be written.
        RuntimeError: If what was written gives other features; nothing is left behind then.
    """
    check_outputs(out, format, card, overwrite)
    text = None if card is None else model_card(exported, format, out)
    WRITERS[format](exported, Path(out), overwrite)
    if card is not None and text is not None:
        with atomic_write(card, overwrite) as temporary:
            temporary.write_text(text, encoding='utf-8')
