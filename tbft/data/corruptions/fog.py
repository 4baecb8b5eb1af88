"""Fog: a plasma fractal added to the image as a cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_unit
from tbft.data.corruptions.streams import Streams


def plasma(size: int, decay: float, streams: Streams) -> NDArray[np.float64]:
    """Draw plasma fractals by the diamond-square algorithm, on a torus.

    Each level halves the grid: the centre of every square, then of every diamond, becomes the mean of its
    four corners plus a uniform wobble. The wobble's range starts at 100 ** 2 and falls by ``decay`` ** 2 per level
    (the authors multiply the range by itself).

    Args:
        size: Side of the maps in pixels, a power of two from 2.
        decay: How fast detail fades; larger values are smoother.
        streams: One random stream per map.

    Returns:
        Maps (N, size, size), each from 0 to 1.
    """
    draws = streams.uniform(-1, 1, (size * size,))
    used = 0

    def wobble(points: int, reach: float) -> NDArray[np.float64]:
        nonlocal used
        used += points * points
        return reach**2 * draws[:, used - points * points : used].reshape(-1, points, points)

    maps = np.zeros((len(streams), size, size))
    step, reach = size, 100.0
    while step >= 2:
        half, points = step // 2, size // step
        corners = maps[:, ::step, ::step]
        lower = np.roll(corners, -1, axis=1)
        right = np.roll(corners, -1, axis=2)
        centers = (corners + lower + right + np.roll(lower, -1, axis=2)) / 4 + wobble(points, reach)
        maps[:, half::step, half::step] = centers
        maps[:, ::step, half::step] = (centers + np.roll(centers, 1, axis=1) + corners + right) / 4 + wobble(
            points, reach
        )
        maps[:, half::step, ::step] = (centers + np.roll(centers, 1, axis=2) + corners + lower) / 4 + wobble(
            points, reach
        )
        step, reach = half, reach / decay
    maps -= maps.min(axis=(1, 2), keepdims=True)
    return maps / maps.max(axis=(1, 2), keepdims=True)


def fog(images: Bytes, density: tuple[float, float], streams: Streams) -> Bytes:
    """Add a plasma cloud, then darken each image so that no value exceeds the brightest one before.

    The cloud's side is the next power of two (32 for 32 pixels, 256 for 224), cut to the image.

    Args:
        images: Images of bytes (N, C, H, W).
        density: Brightness of the cloud, and the decay of its detail.
        streams: One random stream per image.
    """
    amount, decay = density
    height, width = images.shape[-2:]
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    x = to_unit(images)
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    x = x + amount * plasma(size, decay, streams)[:, None, :height, :width]
    return to_bytes(x * brightest / (brightest + amount))


FOG = {
    "fog": Corruption(
        fog,
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    )
}
