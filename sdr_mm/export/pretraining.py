"""What a checkpoint says about how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple


class Pretraining(NamedTuple):
    """How a network was trained, as far as its checkpoint says.

    Args:
        algorithm (str, optional): Name of its class.
        epochs (int, optional): That it trained.
        images (str, optional): Name of their folder, without those above it.
        dataset (str, optional): Class that listed them.
        license (str, optional): What the checkpoint says of its license.
        attribution (str, optional): Whom it names for its images.
    """

    algorithm: str | None = None
    epochs: int | None = None
    images: str | None = None
    dataset: str | None = None
    license: str | None = None
    attribution: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], meta: Mapping[str, Any]) -> Pretraining:
        """Reads it from the config of a training and the ``meta`` of its checkpoint; what is odd is left out."""
        training = _mapping(meta.get('training'))
        images = _mapping(_mapping(config.get('train_dataloader')).get('dataset'))
        while isinstance(images.get('dataset'), Mapping):  # wrapped, by clusters or by a cache
            images = images['dataset']
        algorithm = _text(_mapping(config.get('model')).get('type')) or _text(training.get('algorithm'))
        epochs = meta.get('epoch', training.get('epochs'))
        root = _text(images.get('data_root'))
        kind = _text(images.get('type'))
        return cls(
            algorithm=algorithm and algorithm.rpartition('.')[2],
            epochs=epochs if type(epochs) is int else None,
            images=root and PurePosixPath(root.replace('\\', '/')).name or None,
            dataset=kind and kind.rpartition('.')[2],
            license=_text(meta.get('license')),
            attribution=_text(meta.get('attribution')))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
