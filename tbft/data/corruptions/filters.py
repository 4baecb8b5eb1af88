"""Linear filters over a batch of images, each bit for bit the same whatever the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from tbft.data.corruptions.definition import Unit


def gaussian(x: Unit, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Unit:
    """Gaussian blur of the last two axes; a ``sigma`` of 0 blurs nothing.

    Args:
        x: (..., H, W).
        sigma: Standard deviation in pixels.
        mode: How the border continues, a word of ``scipy.ndimage``.
        truncate: Where the kernel ends, in standard deviations.
    """
    axes = (0.0,) * (x.ndim - 2)
    return ndimage.gaussian_filter(x, (*axes, sigma, sigma), mode=mode, truncate=truncate)


def correlate(x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Correlation of the last two axes with an odd kernel; the border mirrors without repeating its edge.

    Sums of shifted images, not a library's convolution: those may add in an order that depends on the batch.

    Args:
        x: (N, C, H, W).
        kernel: (K, L), both odd.
    """
    height, width = x.shape[-2:]
    above, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (above, above), (left, left)), mode="reflect")
    out = np.zeros(x.shape, np.result_type(x, kernel))
    for (i, j), weight in np.ndenumerate(kernel):
        if weight:
            out += weight * padded[..., i : i + height, j : j + width]
    return out


def disk(radius: float, alias_blur: float) -> NDArray[np.float32]:
    """Kernel of a lens out of focus: a filled circle, its edge softened by a small Gaussian.

    In single precision, as the authors had it, which decides where a decimal is cut off.

    Args:
        radius: In pixels.
        alias_blur: Standard deviation of the softening, over 3 x 3 pixels (5 x 5 for a radius above 8).

    Returns:
        (K, K), summing to 1.
    """
    reach, soft = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    circle = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.float32)
    circle /= circle.sum()
    bell = np.exp(-(np.arange(-soft, soft + 1) ** 2) / (2 * alias_blur**2))
    bell /= bell.sum()
    for axis in (0, 1):
        circle = ndimage.correlate1d(circle, bell, axis=axis, mode="mirror")
    # What is nothing but zeros around the circle would only cost time.
    first = int(np.flatnonzero(circle.any(axis=0))[0])
    return circle[first : circle.shape[0] - first, first : circle.shape[1] - first]


def motion_taps(radius: int, sigma: float) -> NDArray[np.float64]:
    """Weights of a motion blur along its path: half a Gaussian, 2 ``radius`` + 1 taps, summing to 1.

    ImageMagick's ``MotionBlurImage`` (``magick/effect.c``) looks one way only, from the pixel onwards.
    """
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def motion(images: NDArray[np.uint8], radius: int, sigma: float, angles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Motion blur as ImageMagick draws it; the border repeats its edge.

    Args:
        images: (N, C, H, W).
        radius: In pixels; the path is 2 ``radius`` + 1 pixels long.
        sigma: Standard deviation of the half Gaussian, in pixels.
        angles: (N,), the direction of each path in degrees, clockwise from the right.
    """
    n, _, height, width = images.shape
    reach = 2 * radius
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))
    out = np.zeros(images.shape)
    for step, weight in enumerate(motion_taps(radius, sigma)):
        row = reach + np.ceil(step * down - 0.5).astype(int)
        column = reach + np.ceil(step * right - 0.5).astype(int)
        out += weight * windows[np.arange(n), :, row, column]
    # ImageMagick computes in 16 bits, 257 to the byte, rounds to these, and cuts the rest off in its 8-bit
    # PNG.
    return (np.floor(257 * out + 0.5) // 257).astype(np.uint8)
