"""Noise: Gaussian, shot, impulse and speckle."""

from __future__ import annotations

import numpy as np

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_unit
from tbft.data.corruptions.streams import Streams


def gaussian_noise(images: Bytes, deviation: float, streams: Streams) -> Bytes:
    """Add independent normal noise to every value; ``deviation`` is on the scale of 0 to 1."""
    return to_bytes(to_unit(images) + streams.normal(0, deviation, images.shape[1:]))


def shot_noise(images: Bytes, photons: float, streams: Streams) -> Bytes:
    """Replace each value by a Poisson count of photons, on average ``photons`` at full brightness.

    On the scale of 0 to 1 the variance is value / photons.
    """
    return to_bytes(streams.poisson(to_unit(images) * photons) / photons)


def impulse_noise(images: Bytes, amount: float, streams: Streams) -> Bytes:
    """Add salt and pepper: each value becomes 0 or 255, equally likely, with probability ``amount``.

    Channels change independently, as in scikit-image's ``random_noise``, which the authors called.
    """
    draw = streams.uniform(0, 1, images.shape[1:])
    salted = np.where(draw < amount / 2, np.uint8(255), images)
    return np.where((draw >= amount / 2) & (draw < amount), np.uint8(0), salted)


def speckle_noise(images: Bytes, deviation: float, streams: Streams) -> Bytes:
    """Multiply every value by 1 plus normal noise of standard deviation ``deviation``: noise grows with brightness."""
    x = to_unit(images)
    return to_bytes(x + x * streams.normal(0, deviation, images.shape[1:]))


NOISE = {
    "gaussian_noise": Corruption(
        gaussian_noise, cifar=(0.04, 0.06, 0.08, 0.09, 0.10), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Corruption(shot_noise, cifar=(500, 250, 100, 75, 50), imagenet=(60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        impulse_noise, cifar=(0.01, 0.02, 0.03, 0.05, 0.07), imagenet=(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "speckle_noise": Corruption(
        speckle_noise, cifar=(0.06, 0.1, 0.12, 0.16, 0.2), imagenet=(0.15, 0.2, 0.35, 0.45, 0.6)
    ),
}
