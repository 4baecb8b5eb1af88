"""Parts of a sample: what trains, what validates, what statistics are estimated on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tbft.data.splits import draw
from tbft.device.pictures import Sample
from tbft.remedies.refresh import STATISTICS_IMAGES

VALIDATION = 0.1
"""Share of the labelled images that validates."""

Positions = NDArray[np.int64]


def split_positions(sample: Sample, seed: int) -> tuple[Positions, Positions]:
    """Positions that train and that validate; all train where there are no labels, or no class has two pictures."""
    everything = np.arange(len(sample))
    spare = 0 if sample.labels is None else len(sample) - len(np.unique(sample.labels))
    if sample.labels is None or not spare:
        return everything, everything[:0]
    size = min(max(round(VALIDATION * len(sample)), 1), spare)
    chosen, rest = draw(everything, sample.labels, size, seed + 2, leave=1)
    return rest, chosen


def split_sample(sample: Sample, seed: int) -> tuple[Sample, Sample | None]:
    """Training and validation pictures; ``None`` where nothing can validate."""
    train, validation = split_positions(sample, seed)
    return (sample.take(train), sample.take(validation)) if len(validation) else (sample, None)


def for_statistics(sample: Sample, seed: int) -> Sample:
    """As many pictures as BatchNorm statistics and an alignment need, drawn at random."""
    if len(sample) <= STATISTICS_IMAGES:
        return sample
    chosen = np.random.default_rng(seed).permutation(len(sample))[:STATISTICS_IMAGES]
    return sample.take(np.sort(chosen))
