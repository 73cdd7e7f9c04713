"""Mean and standard deviation of the input of a network, RGB, in the range 0 to 255."""

from __future__ import annotations

from typing import NamedTuple


class Normalization(NamedTuple):
    """What is subtracted from each channel, and by what the rest is divided.

    Args:
        mean (tuple[float, …]): Per channel, RGB, 0 to 255. Defaults to ImageNet's.
        std (tuple[float, …]): Per channel. Defaults to ImageNet's.
    """

    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)


IMAGENET = Normalization()
ZERO_TO_ONE = Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
"""Of networks that take images from 0 to 1."""
