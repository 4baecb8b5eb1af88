"""Resample images: zoom into the centre, sample between pixels, cut pieces out of textures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.data.corruptions.definition import Unit

Indices = NDArray[np.int64]


def fold_mirror(index: Indices, size: int) -> Indices:
    """Fold indices beyond the border back, mirrored about the edge pixels' centres (``d c b | a b c d | c b a``)."""
    period = max(1, 2 * (size - 1))
    index = index % period
    return np.minimum(index, period - index) if size > 1 else index


def fold_reflect(index: Indices, size: int) -> Indices:
    """Fold indices beyond the border back, mirrored about the image's edge (``c b a | a b c d | d c b``)."""
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def bilinear(
    x: Unit, rows: NDArray[np.float64], columns: NDArray[np.float64], fold: Callable[[Indices, int], Indices]
) -> Unit:
    """Sample each image at its own places, linearly between the four nearest pixels.

    Args:
        x: Images (N, C, H, W).
        rows: Vertical places (N, H, W) in pixels.
        columns: Horizontal places (N, H, W) in pixels.
        fold: Function of indices and a size that folds indices beyond the border back into the image.

    Returns:
        Sampled images (N, C, H, W), of the type of ``x``.
    """
    n, channels, height, width = x.shape
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    below, beside = (rows - top)[:, None], (columns - left)[:, None]
    flat = x.reshape(n, channels, -1)

    def at(row: Indices, column: Indices) -> Unit:
        place = (row * width + column).reshape(n, 1, -1)
        return np.take_along_axis(flat, place, axis=2).reshape(x.shape)

    r0, r1 = fold(top, height), fold(top + 1, height)
    c0, c1 = fold(left, width), fold(left + 1, width)
    upper = at(r0, c0) * (1 - beside) + at(r0, c1) * beside
    lower = at(r1, c0) * (1 - beside) + at(r1, c1) * beside
    return (upper * (1 - below) + lower * below).astype(x.dtype)


def clipped_zoom(x: Unit, factor: float) -> Unit:
    """Enlarge the centre of each image by ``factor``, linearly interpolated, and keep the image's size.

    The grid is that of the authors: the size of the crop is rounded up, that of the enlarged crop is rounded to the
    nearest, their corner pixels coincide, and the excess is trimmed evenly. The authors cropped squares; here each
    axis has its own crop, so that images need not be square.

    Args:
        x: Images (N, C, H, W).
        factor: Magnification, at least 1.
    """
    for axis in (-2, -1):
        size = x.shape[axis]
        crop = math.ceil(size / factor)
        enlarged = round(crop * factor)
        place = (np.arange(size) + (enlarged - size) // 2) * ((crop - 1) / max(1, enlarged - 1))
        lower = np.minimum(place.astype(np.int64), max(0, crop - 2))
        share = (place - lower).reshape((-1, 1) if axis == -2 else (-1,))
        lower += (size - crop) // 2
        if not share.any() and crop == size:
            continue
        upper = np.minimum(lower + 1, size - 1)
        x = np.take(x, lower, axis=axis) * (1 - share) + np.take(x, upper, axis=axis) * share
    return x


def crop_tiles(textures: NDArray[Any], which: Indices, rows: Indices, columns: Indices, size: tuple[int, int]) -> Any:
    """Cut N pieces out of a set of textures, which continue mirrored beyond their border.

    Args:
        textures: Textures (T, C, S, S).
        which: Index (N,) of the texture of each piece.
        rows: Top row (N,) of each piece.
        columns: Left column (N,) of each piece.
        size: Height and width of the pieces in pixels.

    Returns:
        Pieces (N, C, *size).
    """
    side = textures.shape[-1]
    row = fold_reflect(rows[:, None] + np.arange(size[0]), side)
    column = fold_reflect(columns[:, None] + np.arange(size[1]), side)
    pieces = textures[which[:, None, None], :, row[:, :, None], column[:, None, :]]
    return np.moveaxis(pieces, -1, 1)
