"""The definition of a corruption: its function, and the constants of its five severities at both scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbft.data.corruptions.streams import Streams

Bytes: TypeAlias = NDArray[np.uint8]
"""Images of bytes, (N, C, H, W), with C = 1 or 3."""

Unit: TypeAlias = NDArray[np.floating[Any]]
"""Images whose values run from 0 to 1, (N, C, H, W)."""


class Corruption(NamedTuple):
    """One corruption of the benchmark.

    Attributes:
        apply: Function of images of bytes, the constants of one severity, and one random stream per image; it returns
            new images of bytes of the same shape. No image may depend on the others.
        cifar: Constants of severities 1 to 5 for images of about 32 pixels (``make_cifar_c.py``).
        imagenet: Constants of severities 1 to 5 for images of about 224 pixels (``make_imagenet_c.py``).
    """

    apply: Callable[[Bytes, Any, Streams], Bytes]
    cifar: tuple[Any, ...]
    imagenet: tuple[Any, ...]


def to_unit(images: Bytes, dtype: type[np.floating[Any]] = np.float64) -> Unit:
    """Convert images of bytes to numbers from 0 to 1."""
    return images.astype(dtype) / dtype(255)


def to_bytes(x: Unit) -> Bytes:
    """Convert numbers to images of bytes: clip to 0..1, then truncate instead of rounding, as the authors did."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def to_grey(x: Unit) -> Unit:
    """Return the luma of colour images, (N, 1, H, W); grey images are returned unchanged."""
    if x.shape[1] == 1:
        return x
    red, green, blue = LUMA.astype(x.dtype)
    return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]


def tint(rgb: tuple[int, int, int], channels: int) -> Unit:
    """Return a colour, given in bytes, as (1, C, 1, 1) from 0 to 1; for one channel return its luma."""
    color: Unit = np.array(rgb)[None, :, None, None] / 255
    return color if channels == 3 else to_grey(color)
