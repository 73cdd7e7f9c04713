"""The settings that fit a network when it is evaluated. Its checkpoint knows them, so nobody has to repeat them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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

        Sizes and ``k`` are in its ``evaluation = dict(resize=…, size=…, k=…)``. Where there is none, the crop is that
        of the training pipeline and the rest is as in the paper.

        Args:
            config (Mapping): Only parsed, nothing of it is built.
            default (Normalization): Where it names none. Defaults to ImageNet's.

        Raises:
            InputError: If ``evaluation`` cannot be used.
        """
        stored = config.get('evaluation')
        if not isinstance(stored, Mapping):
            # The crop of the training pipeline, the smallest if views differ. MMSelfSup 0.x has it in ``data.train``.
            data = config.get('data')
            old = data.get('train') if isinstance(data, Mapping) else None
            crop = min(_crops([config.get('train_dataloader'), old]), default=None)
            stored = {} if crop is None else dict(size=crop, resize=round(crop * PROTOCOL_RATIO))
        known = {key: stored[key] for key in ('resize', 'size', 'k') if key in stored}
        return cls(normalization_of(config, default), **known)

    def record(self) -> dict[str, Any]:
        """All of it in plain types, which :meth:`of` reads back."""
        mean, std = map(list, self.normalization)
        return dict(evaluation=dict(resize=self.resize, size=self.size, k=self.k),
                    data_preprocessor=dict(mean=mean, std=std))

    def but(self, **changes: Any) -> EvalSettings:
        """The same with some other values; those that are None change nothing."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


def normalization_of(config: Mapping[str, Any], default: Normalization = IMAGENET) -> Normalization:
    """Mean and std of the input, 0 to 255, that a config's ``data_preprocessor`` has; ``default`` if it has none.

    MMSelfSup 0.x has them in ``img_norm_cfg``, 0 to 1.
    """
    holders = [(config.get('model'), 'data_preprocessor'), (config, 'data_preprocessor'), (config, 'img_norm_cfg')]
    for holder, name in holders:
        stored = holder.get(name) if isinstance(holder, Mapping) else None
        if isinstance(stored, Mapping) and stored.get('mean') and stored.get('std'):
            mean, std = _channels(stored, name, 'mean'), _channels(stored, name, 'std')
            if len(mean) != len(std) or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
                raise InputError(f'mean and std of {name} must be finite, and std above 0, for each channel, got '
                                 f'{mean} and {std}')
            scale = 255 if name == 'img_norm_cfg' and max(mean + std) <= 1 else 1  # That of others is 0 to 255.
            return Normalization(*(tuple(scale * value for value in values) for values in (mean, std)))
    return default


def _channels(stored: Mapping[str, Any], where: str, name: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, stored[name]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'{name} of {where} must be a number for each channel, got {stored[name]!r}') from error


def _crops(value: Any) -> Iterator[int]:
    """Sides of the random crops in a pipeline, the shorter one of each."""
    if isinstance(value, Mapping):
        scale = value.get('size', value.get('scale'))  # MMSelfSup's, whose scale is another thing, and MMPretrain's.
        sides = scale if isinstance(scale, (list, tuple)) else [scale]
        crops = str(value.get('type')).split('.')[-1] in ('RandomResizedCrop', 'ResizedCrop')
        if crops and sides and all(isinstance(side, int) for side in sides):
            yield min(sides)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        yield from _crops(part)
