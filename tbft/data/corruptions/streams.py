"""Random numbers that belong to an image and do not depend on its batch."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Streams:
    """One independent random stream for each image of a batch.

    A stream is keyed by seed, corruption, severity and the image's index. An image's numbers therefore depend neither
    on the other images of the batch nor on the order of the batches.

    Args:
        seed: Any integer from 0.
        name: Name of the corruption.
        severity: Severity from 1 to 5.
        indices: Index of each image, from 0.
    """

    def __init__(self, seed: int, name: str, severity: int, indices: Iterable[int]) -> None:
        key = zlib.crc32(name.encode())
        self._streams = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, key, severity, index])))
            for index in indices
        ]

    def __len__(self) -> int:
        return len(self._streams)

    def normal(self, mean: float, deviation: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw normal numbers, (N, *shape)."""
        return np.stack([stream.normal(mean, deviation, shape) for stream in self._streams])

    def uniform(self, low: float, high: float, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Draw uniform numbers from ``low`` to ``high``, (N, *shape)."""
        return np.stack([stream.uniform(low, high, shape) for stream in self._streams])

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> NDArray[np.int64]:
        """Draw whole numbers from ``low`` to ``high - 1``, (N, *shape)."""
        return np.stack([stream.integers(low, high, shape) for stream in self._streams])

    def poisson(self, mean: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Draw Poisson counts with the means ``mean`` (N, ...), whose first axis is the images; same shape."""
        return np.stack([stream.poisson(rate) for stream, rate in zip(self._streams, mean, strict=True)])
