"""Parts of a sample: pictures that train, pictures that validate, pictures for BatchNorm statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tbft.data.splits import draw
from tbft.device.pictures import Sample
from tbft.remedies.refresh import STATISTICS_IMAGES

VALIDATION = 0.1
"""Share of the labelled images that validate."""

Positions = NDArray[np.int64]


def split_positions(sample: Sample, seed: int) -> tuple[Positions, Positions]:
    """Return the positions of the pictures that train and of those that validate.

    All pictures train where there are no labels, or no class has two pictures.
    """
    everything = np.arange(len(sample))
    spare = 0 if sample.labels is None else len(sample) - len(np.unique(sample.labels))
    if sample.labels is None or not spare:
        return everything, everything[:0]
    size = min(max(round(VALIDATION * len(sample)), 1), spare)
    chosen, rest = draw(everything, sample.labels, size, seed + 2, leave=1)
    return rest, chosen


def split_sample(sample: Sample, seed: int) -> tuple[Sample, Sample | None]:
    """Return training and validation pictures; ``None`` for the latter where none can validate."""
    train, validation = split_positions(sample, seed)
    return (sample.take(train), sample.take(validation)) if len(validation) else (sample, None)


def for_statistics(sample: Sample, seed: int) -> Sample:
    """Draw at random as many pictures as BatchNorm statistics and an alignment need."""
    if len(sample) <= STATISTICS_IMAGES:
        return sample
    chosen = np.random.default_rng(seed).permutation(len(sample))[:STATISTICS_IMAGES]
    return sample.take(np.sort(chosen))
