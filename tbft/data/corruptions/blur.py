"""Blur: Gaussian, defocus, glass, motion and zoom."""

from __future__ import annotations

import numpy as np

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_unit
from tbft.data.corruptions.filters import correlate, disk, gaussian, motion
from tbft.data.corruptions.resampling import clipped_zoom
from tbft.data.corruptions.streams import Streams


def gaussian_blur(images: Bytes, sigma: float, streams: Streams) -> Bytes:
    """Blur with a Gaussian of ``sigma`` pixels; nothing is random."""
    return to_bytes(gaussian(to_unit(images), sigma))


def defocus_blur(images: Bytes, lens: tuple[float, float], streams: Streams) -> Bytes:
    """Blur with a disk, given by its radius and the softness of its edge in pixels; nothing is random."""
    return to_bytes(correlate(to_unit(images), disk(*lens)))


def glass_blur(images: Bytes, glass: tuple[float, int, int], streams: Streams) -> Bytes:
    """Blur, scatter pixels locally, and blur again.

    From the lower right to the upper left, each pixel takes the value of a random neighbour, which is at most ``reach``
    pixels away to the left and above, and less than ``reach`` to the right and below. The authors' code is meant to
    swap the two, but both sides of its exchange are views of one array, so that the neighbour keeps its value. The
    published files were made that way, and this function does the same.

    Args:
        images: Images of bytes (N, C, H, W).
        glass: Standard deviation of both blurs in pixels, reach in pixels, number of passes.
        streams: One random stream per image.
    """
    sigma, reach, passes = glass
    n, channels, height, width = images.shape
    blurred = to_bytes(gaussian(to_unit(images), sigma)).reshape(n, channels, -1)
    places = np.arange(height - reach, reach, -1)[:, None] * width + np.arange(width - reach, reach, -1)
    steps = streams.integers(-reach, reach, (passes, *places.shape, 2))
    targets = places.ravel().tolist() * passes
    origins = (places + steps[..., 0] * width + steps[..., 1]).reshape(n, -1)
    scattered = np.empty_like(blurred)
    for i in range(n):
        # One pixel at a time, since a value may come from a pixel that was replaced just before.
        source = list(range(height * width))
        for target, origin in zip(targets, origins[i].tolist(), strict=True):
            source[target] = source[origin]
        scattered[i] = blurred[i][:, source]
    return to_bytes(gaussian(to_unit(scattered.reshape(images.shape)), sigma))


def motion_blur(images: Bytes, path: tuple[int, float], streams: Streams) -> Bytes:
    """Blur along a line within 45 degrees of the horizontal; ``path`` is ImageMagick's radius and sigma."""
    return motion(images, *path, angles=streams.uniform(-45, 45))


def zoom_blur(images: Bytes, zoom: tuple[float, float], streams: Streams) -> Bytes:
    """Average each image with enlargements of itself about its centre; nothing is random.

    Args:
        images: Images of bytes (N, C, H, W).
        zoom: Stop and step of the enlargement factors, which start at 1 (as in ``numpy.arange``).
        streams: Not used.
    """
    x = to_unit(images, np.float32)
    factors = np.arange(1, *zoom)
    total = x.copy()
    for factor in factors:
        total += clipped_zoom(x, factor).astype(np.float32)
    return to_bytes(total / np.float32(len(factors) + 1))


BLUR = {
    "gaussian_blur": Corruption(gaussian_blur, cifar=(0.4, 0.6, 0.7, 0.8, 1), imagenet=(1, 2, 3, 4, 6)),
    "defocus_blur": Corruption(
        defocus_blur,
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(
        glass_blur,
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": Corruption(
        motion_blur,
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": Corruption(
        zoom_blur,
        cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
}
