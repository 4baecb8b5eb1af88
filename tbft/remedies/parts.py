"""What was chosen from a whole sample, fitted to a part of it: the rest then validates what is trained."""

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
    """The chosen head, and the last accepted one that is not solved, fitted to a part of the sample.

    Training starts from the second: a block that is trained makes other features, and a head that was solved from few
    labels stands in its way (sub-populations of Tiny-ImageNet, 1,000 labels: 1.5 points).

    Args:
        choice: whose combination is meant.
        samples: by state of the statistics.
        positions: of the part.
        card: what is known of the source.
    """
    part = {state: images_at(sample, positions) for state, sample in samples.items()}
    fitted = {c.remedies: c.fit.whole.head for c in candidates(part, choice.tried[0].fit.whole.head, card)}
    unsolved: tuple[str, ...] = ("refresh",) if choice.statistics == REFRESHED else ("keep",)
    for step in choice.steps:
        if step.accepted and step.statistics == choice.statistics and step.remedies[-1] != "head":
            unsolved = step.remedies
    return fitted[choice.remedies], fitted[unsolved]


def images_at(sample: Sample, positions: Sequence[int]) -> Sample:
    """Some images of a sample."""
    where = np.asarray(positions, np.int64)
    labels = None if sample.labels is None else sample.labels[where]
    return Sample(sample.features[where], sample.logits[where], labels)
