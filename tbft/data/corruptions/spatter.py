"""Spatter: drops of water, or of mud, on the lens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tbft.data.corruptions.definition import Bytes, Corruption, tint, to_bytes, to_unit
from tbft.data.corruptions.edges import canny
from tbft.data.corruptions.filters import correlate, gaussian
from tbft.data.corruptions.streams import Streams

WATER, MUD = (175, 238, 238), (63, 42, 20)
"""Pale turquoise and brown, as red, green and blue."""

# 1.4 and 2.1969 in OpenCV's 16-bit fixed point: later steps truncate, so that the last digit matters.
_DIAGONAL, _KNIGHT = 91750 / 65536, 143976 / 65536
_NINE = np.ones((3, 3))
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(images: Bytes, liquid: tuple[float, float, float, float, float, bool], streams: Streams) -> Bytes:
    """Add drops of water or mud where smoothed noise is above a level.

    Args:
        images: Images of bytes (N, C, H, W).
        liquid: Mean and standard deviation of the noise, sigma of its smoothing in pixels, the level, strength of the
            water or sigma in pixels of the mud's edge, and whether it is mud.
        streams: One random stream per image.
    """
    mean, deviation, smoothing, level, finish, is_mud = liquid
    layer = gaussian(streams.normal(mean, deviation, images.shape[-2:]), smoothing)
    layer[layer < level] = 0
    x, channels = to_unit(images), images.shape[1]
    if is_mud:
        cover = gaussian((layer > level).astype(np.float32), finish)[:, None]
        cover[cover < 0.8] = 0
        return to_bytes(x * (1 - cover) + tint(MUD, channels) * cover)
    return to_bytes(x + finish * shine((layer * 255).astype(np.uint8))[:, None] * tint(WATER, channels))


def shine(layers: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the highlights of drops of water, embossed by the distance to their rims.

    Args:
        layers: Depth of the water (N, H, W).

    Returns:
        Brightness (N, H, W) from 0 to 1; an image without drops is 0 everywhere.
    """
    near = np.minimum(chamfer_distance(canny(layers, 50, 150)), 20)[:, None]
    relief = correlate(equalize((correlate(near, _NINE) / 9).astype(np.uint8)).astype(np.int64), _EMBOSS)
    smooth = np.rint(correlate(np.clip(relief, 0, 255), _NINE) / 9)[:, 0]
    wet = layers * smooth
    brightest = wet.max(axis=(1, 2), keepdims=True)
    return np.divide(wet, brightest, out=np.zeros_like(wet), where=brightest > 0)


def chamfer_distance(targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Measure the distance to the nearest target in steps of 1 (straight), 1.4 (diagonal) and 2.1969 (knight's move).

    These are Borgefors' weights for a 5 x 5 neighbourhood, by which OpenCV approximates the Euclidean
    distance.

    Args:
        targets: Mask (N, H, W), true on targets.

    Returns:
        Distances (N, H, W) in pixels; an image without targets is infinite everywhere.
    """
    if not targets.any():
        return np.full(targets.shape, np.inf)
    # One transform for the batch: the images are so far apart that the nearest target is in the same image, if it
    # has any.
    nearest = ndimage.distance_transform_edt(
        ~targets, sampling=(1e6, 1, 1), return_distances=False, return_indices=True
    )
    steps = abs(nearest - np.indices(targets.shape))
    longer, shorter = np.maximum(steps[1], steps[2]), np.minimum(steps[1], steps[2])
    knights = np.minimum(shorter, longer - shorter)
    distance = _KNIGHT * knights + _DIAGONAL * (shorter - knights) + (longer - shorter - knights)
    return np.where(steps[0] == 0, distance, np.inf)


def equalize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Equalise each image's histogram as OpenCV does; an image of a single value is not changed.

    Args:
        images: Grey images (N, 1, H, W).
    """
    n, size = len(images), images[0].size
    offsets = 256 * np.arange(n)[:, None]
    counts = np.bincount((images.reshape(n, -1) + offsets).ravel(), minlength=256 * n).reshape(n, 256)
    lowest = images.reshape(n, -1).min(axis=1)
    floor = counts[np.arange(n), lowest][:, None]
    table = np.rint((counts.cumsum(axis=1) - floor) * (255 / np.maximum(1, size - floor))).clip(0, 255)
    table = np.where(floor == size, np.arange(256), table).astype(np.uint8)
    return np.take_along_axis(table, images.reshape(n, -1), axis=1).reshape(images.shape)


SPATTER = {
    "spatter": Corruption(
        spatter,
        cifar=(
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        imagenet=(
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
    )
}
