"""Frost: drawn textures of ice, mixed into the image.

The benchmark's authors cut pieces out of five photographs of frozen panes, which tbft may not ship. The
textures here are drawn instead: dendrites that branch at 60 degrees, as ice does, over a fractal haze. The
mixing, its constants and the choice of a random piece are the authors'. The frost is similar but not the same, so
that accuracies on it cannot be compared with published ones.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tbft.data.corruptions.definition import Bytes, Corruption, Unit, to_grey
from tbft.data.corruptions.filters import gaussian
from tbft.data.corruptions.resampling import crop_tiles
from tbft.data.corruptions.streams import Streams

SIDE = 600
"""Side of a texture in pixels, before it is scaled."""

TEXTURES = 5
_FERNS = 40


def frost(images: Bytes, mix: tuple[float, float, float], streams: Streams) -> Bytes:
    """Add a random piece of a random frost texture; grey images get the texture's luma.

    Args:
        images: Images of bytes (N, C, H, W).
        mix: Share of the image, share of the frost, and the scale of the textures.
        streams: One random stream per image.
    """
    kept, iced, scale = mix
    textures = frost_textures(scale)
    if images.shape[1] == 1:
        textures = to_grey(textures)
    height, width = images.shape[-2:]
    side = textures.shape[-1]
    which = streams.integers(0, TEXTURES)
    rows = streams.integers(0, max(1, side - height))
    columns = streams.integers(0, max(1, side - width))
    ice = crop_tiles(textures, which, rows, columns, (height, width))
    return np.clip(kept * images + iced * ice, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=2)
def frost_textures(scale: float) -> Unit:
    """Draw the textures, which are the same in every call.

    Args:
        scale: Side of the textures as a share of ``SIDE``.

    Returns:
        Textures (TEXTURES, 3, S, S), from 0 to 255.
    """
    textures = np.stack([_texture(np.random.default_rng(number), scale) for number in range(TEXTURES)])
    textures.flags.writeable = False
    return textures


def _texture(rng: np.random.Generator, scale: float) -> NDArray[np.float32]:
    """Draw one texture, (3, S, S): ferns and haze in colours from dark blue to white."""
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    for _ in range(_FERNS):
        x, y = rng.uniform(0, SIDE, 2)
        _fern(draw, rng, x, y, rng.uniform(0, 2 * math.pi), length=rng.uniform(0.15, 0.5) * SIDE, order=2)
    ferns = gaussian(np.asarray(picture) / 255, 0.8)
    haze = _haze(rng)
    ice = np.clip(0.5 * haze**2 + ferns * (0.3 + 0.9 * haze), 0, 1)
    night, white = np.array([20.0, 40.0, 70.0]), np.array([235.0, 245.0, 255.0])
    texture = night[:, None, None] + ice * (white - night)[:, None, None]
    texture = texture.astype(np.float32)
    if scale == 1:
        return texture
    small = (round(SIDE * scale),) * 2
    resized = [Image.fromarray(channel).resize(small, Image.Resampling.BOX) for channel in texture]
    return np.stack([np.asarray(channel) for channel in resized])


def _fern(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    x: float,
    y: float,
    angle: float,
    length: float,
    order: int,
) -> None:
    """Draw a fern: a stem with pairs of branches that get shorter towards its tip; each branch is a smaller fern.

    Args:
        draw: Picture to draw on.
        rng: Random number generator.
        x: Horizontal start of the stem in pixels.
        y: Vertical start of the stem in pixels.
        angle: Direction of the stem in radians.
        length: Length of the stem in pixels.
        order: Levels of branches; 0 draws the stem alone.
    """
    dx, dy = math.cos(angle), math.sin(angle)
    brightness = int(rng.uniform(110, 255))
    draw.line((x, y, x + length * dx, y + length * dy), fill=brightness, width=1 + 2 * order)
    if order == 0:
        return
    pairs = 4 + 5 * order
    for place in (np.arange(pairs) + rng.uniform(0.2, 0.8, pairs)) / pairs:
        for side in (-1, 1):
            branch = length * (1 - place) * rng.uniform(0.25, 0.55)
            start = (x + place * length * dx, y + place * length * dy)
            _fern(draw, rng, *start, angle + side * math.pi / 3, branch, order - 1)


def _haze(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise whose amplitude falls as 1 / frequency ** 1.3, (SIDE, SIDE), ranked to values evenly from 0 to 1."""
    vertical, horizontal = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.maximum(np.hypot(vertical, horizontal), 1 / SIDE)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) / frequency**1.3, (SIDE, SIDE))
    return (field.ravel().argsort().argsort() / (field.size - 1)).reshape(field.shape)


FROST = {
    "frost": Corruption(
        frost,
        cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    )
}
