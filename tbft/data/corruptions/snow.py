"""Snow: flakes made of enlarged noise with motion blur, over a whitened image."""

from __future__ import annotations

import numpy as np

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_grey, to_unit
from tbft.data.corruptions.filters import motion
from tbft.data.corruptions.resampling import clipped_zoom
from tbft.data.corruptions.streams import Streams


def snow(images: Bytes, fall: tuple[float, float, float, float, int, float, float], streams: Streams) -> Bytes:
    """Whiten each image and add flakes, once as drawn and once turned by 180 degrees.

    Args:
        images: Images of bytes (N, C, H, W).
        fall: Mean and standard deviation of the noise that flakes are made of, its magnification, the level below
            which there is no flake, radius and sigma of the flakes' motion blur in pixels, and the share of the image
            that is not whitened.
        streams: One random stream per image.
    """
    mean, deviation, magnification, least, radius, sigma, kept = fall
    noise = streams.normal(mean, deviation, (1, *images.shape[-2:]))
    flakes = clipped_zoom(noise, magnification)
    flakes[flakes < least] = 0
    drawn = to_unit(motion(to_bytes(flakes), radius, sigma, angles=streams.uniform(-135, -45)))

    x = to_unit(images)
    x = kept * x + (1 - kept) * np.maximum(x, to_grey(x) * 1.5 + 0.5)
    return to_bytes(x + drawn + drawn[..., ::-1, ::-1])


SNOW = {
    "snow": Corruption(
        snow,
        cifar=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        imagenet=(
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    )
}
