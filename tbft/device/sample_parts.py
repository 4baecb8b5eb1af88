"""Parts of a sample: what trains, what validates, what statistics are estimated on."""

from __future__ import annotations

import numpy as np

from tbft.data.splits import draw
from tbft.device.network import Network, Pixels
from tbft.device.pictures import Sample

VALIDATION = 0.1
"""Share of the labelled images that validates."""

_STATISTICS_IMAGES = 256
"""For BatchNorm statistics; more do not change them much."""


def split_sample(base: Network, sample: Sample, seed: int) -> tuple[Sample, Sample | None]:
    """Training and validation pictures; all train where there are no labels, or no class has two pictures."""
    if sample.labels is None:
        return sample, None
    everything = np.arange(len(sample))
    spare = len(sample) - len(np.unique(sample.labels))
    if not spare:
        return sample, None
    size = min(max(round(VALIDATION * len(sample)), 1), spare)
    chosen, rest = draw(everything, sample.labels, size, seed + 2, leave=1)
    return sample.take(rest, base.limit), sample.take(chosen, base.limit)


def for_statistics(base: Network, sample: Sample, seed: int) -> Pixels:
    """Pixels of as many pictures as BatchNorm statistics need."""
    if len(sample) <= _STATISTICS_IMAGES:
        return sample.pixels
    chosen = np.random.default_rng(seed).permutation(len(sample))[:_STATISTICS_IMAGES]
    return base.limit.take(sample.pixels, np.sort(chosen))
