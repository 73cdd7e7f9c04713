"""What fits a network when it is evaluated; a checkpoint knows it, so that nobody has to say it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import InputError
from ..images import IMAGENET, Normalization

PROTOCOL_RATIO = 256 / 224
"""Short side over crop, as the paper's kNN has it."""


@dataclass(frozen=True)
class EvalSettings:
    """How images are prepared for a network, and the neighbors of its kNN.

    Args:
        normalization (Normalization): Of its input. Defaults to ImageNet's.
        resize (int): Short side of the images, in pixels. Defaults to 256.
        size (int): Side of the center crop, in pixels. Defaults to 224.
        k (int): Neighbors of kNN. Defaults to 200.

    Raises:
        InputError: If a value is out of range.
    """

    normalization: Normalization = IMAGENET
    resize: int = 256
    size: int = 224
    k: int = 200

    def __post_init__(self) -> None:
        whole = all(type(value) is int for value in (self.resize, self.size, self.k))
        if not whole or not 0 < self.size <= self.resize or self.k < 1:
            raise InputError(f'evaluation needs whole numbers 0 < size <= resize and k >= 1, got size={self.size!r}, '
                             f'resize={self.resize!r} and k={self.k!r}')

    @classmethod
    def of(cls, config: Mapping[str, Any], default: Normalization = IMAGENET) -> EvalSettings:
        """Reads what a training config, or the record of an export, says.

        Sizes and ``k`` are in its ``evaluation = dict(resize=…, size=…, k=…)``. Where there is none, the crop is
        that of the training pipeline and the rest is as in the paper.

        Args:
            config (Mapping): Only parsed, nothing of it is built.
            default (Normalization): Where it names none. Defaults to ImageNet's.

        Raises:
            InputError: If ``evaluation`` cannot be used.
        """
        stored = config.get('evaluation')
        if not isinstance(stored, Mapping):
            crop = _crop(config)
            stored = {} if crop is None else dict(size=crop, resize=round(crop * PROTOCOL_RATIO))
        known = {key: stored[key] for key in ('resize', 'size', 'k') if key in stored}
        return cls(normalization_of(config, default), **known)

    def record(self) -> dict[str, Any]:
        """All of it in plain types, which :meth:`of` reads back."""
        sizes = {key: value for key, value in asdict(self).items() if key != 'normalization'}
        mean, std = (list(values) for values in self.normalization)
        return dict(evaluation=sizes, data_preprocessor=dict(mean=mean, std=std))

    def but(self, **changes: Any) -> EvalSettings:
        """The same with some other values; those that are None change nothing."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


def normalization_of(config: Mapping[str, Any], default: Normalization = IMAGENET) -> Normalization:
    """Mean and std of the input, 0 to 255, that a config's ``data_preprocessor`` has; ``default`` if it has none."""
    model = config.get('model')
    for holder in (model, config):
        preprocessor = holder.get('data_preprocessor') if isinstance(holder, Mapping) else None
        if isinstance(preprocessor, Mapping) and preprocessor.get('mean') and preprocessor.get('std'):
            return Normalization(_channels(preprocessor, 'mean'), _channels(preprocessor, 'std'))
    return default


def _channels(preprocessor: Mapping[str, Any], name: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, preprocessor[name]))
    except (TypeError, ValueError) as error:
        raise InputError(f'{name} of data_preprocessor must be a number for each channel, got {preprocessor[name]!r}') \
            from error


def _crop(config: Mapping[str, Any]) -> int | None:
    """Side of the random crop of the training pipeline, the smallest if views differ."""
    scales = [scale if isinstance(scale, int) else min(scale) for scale in _scales(config.get('train_dataloader'))]
    return min(scales, default=None)


def _scales(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        scale = value.get('scale')
        crops = str(value.get('type')).split('.')[-1] in ('RandomResizedCrop', 'ResizedCrop')
        if crops and (isinstance(scale, int) or isinstance(scale, (list, tuple)) and scale and
                      all(isinstance(side, int) for side in scale)):
            yield scale
        for part in value.values():
            yield from _scales(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _scales(part)
