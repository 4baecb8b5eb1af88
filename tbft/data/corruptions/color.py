"""Colour: brightness, saturation and contrast."""

from __future__ import annotations

import numpy as np

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_grey, to_unit
from tbft.data.corruptions.streams import Streams


def brightness(images: Bytes, shift: float, streams: Streams) -> Bytes:
    """Raise the value of HSV by ``shift`` and keep hue and saturation; nothing is random.

    With hue and saturation kept, all channels scale as the value does, so that no hue needs to be computed.
    """
    x = to_unit(images)
    value = x.max(axis=1, keepdims=True)
    # Black has no hue and no saturation, and becomes grey.
    relative = np.divide(x, value, out=np.ones_like(x), where=value > 0)
    return to_bytes(relative * np.clip(value + shift, 0, 1))


def saturate(images: Bytes, line: tuple[float, float], streams: Streams) -> Bytes:
    """Multiply and shift the saturation S of HSV, and keep hue and value V; nothing is random.

    A channel is V (1 - S d), where the depth d depends on the hue alone and runs from 0 in the largest channel to 1 in
    the smallest. Grey has the hue of red, by convention, and turns reddish if the saturation is shifted; images with
    one channel get the luma of the result.

    Args:
        images: Images of bytes (N, C, H, W).
        line: Factor and shift of the saturation.
        streams: Not used.
    """
    factor, shift = line
    x = to_unit(images)
    if x.shape[1] == 1:
        x = np.repeat(x, 3, axis=1)
    value = x.max(axis=1, keepdims=True)
    spread = value - x.min(axis=1, keepdims=True)
    red_hue = np.broadcast_to(np.array([0.0, 1.0, 1.0])[None, :, None, None], x.shape).copy()
    depth = np.divide(value - x, spread, out=red_hue, where=spread > 0)
    saturation = np.divide(spread, value, out=np.zeros_like(value), where=value > 0)
    x = value * (1 - depth * np.clip(saturation * factor + shift, 0, 1))
    return to_bytes(x if images.shape[1] == 3 else to_grey(x))


def contrast(images: Bytes, factor: float, streams: Streams) -> Bytes:
    """Multiply each value's distance from the mean of its channel and image by ``factor``; nothing is random."""
    pixels = images.shape[-2] * images.shape[-1]
    means = images.sum(axis=(-2, -1), dtype=np.int64, keepdims=True) / pixels / 255
    return to_bytes((to_unit(images) - means) * factor + means)


COLOR = {
    "brightness": Corruption(brightness, cifar=(0.05, 0.1, 0.15, 0.2, 0.3), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5)),
    "saturate": Corruption(
        saturate,
        cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
    "contrast": Corruption(contrast, cifar=(0.75, 0.5, 0.4, 0.3, 0.15), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05)),
}
