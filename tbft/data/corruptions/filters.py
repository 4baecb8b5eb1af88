"""Linear filters for batches of images; an image's result is bit for bit the same in any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from tbft.data.corruptions.definition import Unit


def gaussian(x: Unit, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Unit:
    """Blur the last two axes with a Gaussian.

    Args:
        x: Images (..., H, W).
        sigma: Standard deviation in pixels; 0 blurs nothing.
        mode: How the border continues, one of the modes of ``scipy.ndimage``.
        truncate: Radius of the kernel in standard deviations.
    """
    axes = (0.0,) * (x.ndim - 2)
    return ndimage.gaussian_filter(x, (*axes, sigma, sigma), mode=mode, truncate=truncate)


def correlate(x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Correlate the last two axes with a kernel; the border mirrors without repeating its edge.

    It sums shifted images instead of calling a library's convolution, which may add in an order that depends on the
    batch.

    Args:
        x: Images (N, C, H, W).
        kernel: Kernel (K, L), both odd.
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
    """Make the kernel of a lens out of focus: a filled circle whose edge is softened by a small Gaussian.

    It is computed in single precision, as the authors did: the precision decides how a value is truncated later.

    Args:
        radius: Radius of the circle in pixels.
        alias_blur: Standard deviation of the softening in pixels, over 3 x 3 pixels (5 x 5 for a radius above 8).

    Returns:
        Kernel (K, K), whose sum is 1.
    """
    reach, soft = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    circle = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.float32)
    circle /= circle.sum()
    bell = np.exp(-(np.arange(-soft, soft + 1) ** 2) / (2 * alias_blur**2))
    bell /= bell.sum()
    for axis in (0, 1):
        circle = ndimage.correlate1d(circle, bell, axis=axis, mode="mirror")
    # Zeros around the circle would only cost time.
    first = int(np.flatnonzero(circle.any(axis=0))[0])
    return circle[first : circle.shape[0] - first, first : circle.shape[1] - first]


def motion_taps(radius: int, sigma: float) -> NDArray[np.float64]:
    """Return the weights of a motion blur along its path: half a Gaussian of 2 ``radius`` + 1 taps, whose sum is 1.

    As in ImageMagick's ``MotionBlurImage`` (``magick/effect.c``) the path starts at the pixel and goes one way only.
    """
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def motion(images: NDArray[np.uint8], radius: int, sigma: float, angles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Blur images along a line as ImageMagick does; the border repeats its edge.

    Args:
        images: Images of bytes (N, C, H, W).
        radius: Radius in pixels; the path is 2 ``radius`` + 1 pixels long.
        sigma: Standard deviation of the half Gaussian, in pixels.
        angles: Direction of each image's path (N,) in degrees, clockwise from the right.
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
    # ImageMagick computes in 16 bits, 257 per byte, rounds to these, and truncates to 8 bits in its PNG.
    return (np.floor(257 * out + 0.5) // 257).astype(np.uint8)
