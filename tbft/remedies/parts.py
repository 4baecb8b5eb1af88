"""Fit the chosen remedies to a part of the sample, so that the rest can validate training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice
from tbft.remedies.combinations import candidates
from tbft.remedies.sample import REFRESHED, Head, Sample


def heads_of_part(
    choice: Choice, samples: Mapping[str, Sample], positions: Sequence[int], card: SourceCard
) -> tuple[Head, Head]:
    """Return the chosen head, and the last accepted head that is not solved, both fitted to a part of the sample.

    Training starts from the second: a trained block makes other features, and a head solved from few labels hinders it
    (by 1.5 points on sub-populations of Tiny-ImageNet with 1,000 labels).

    Args:
        choice: choice made on the whole sample.
        samples: sample by state of the statistics.
        positions: positions in the sample of the images of the part.
        card: source card of the base model.
    """
    part = {state: images_at(sample, positions) for state, sample in samples.items()}
    fitted = {c.remedies: c.fit.whole.head for c in candidates(part, choice.tried[0].fit.whole.head, card)}
    unsolved: tuple[str, ...] = ("refresh",) if choice.statistics == REFRESHED else ("keep",)
    for step in choice.steps:
        if step.accepted and step.statistics == choice.statistics and step.remedies[-1] != "head":
            unsolved = step.remedies
    return fitted[choice.remedies], fitted[unsolved]


def images_at(sample: Sample, positions: Sequence[int]) -> Sample:
    """Return the sample of the images at these positions."""
    where = np.asarray(positions, np.int64)
    labels = None if sample.labels is None else sample.labels[where]
    return Sample(sample.features[where], sample.logits[where], labels)
