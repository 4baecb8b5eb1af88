"""How much of a sample is looked at: a first part, and the rest only where it can still decide something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from tbft.diagnosis.diagnosis import Diagnosis, diagnose
from tbft.remedies.card import SourceCard
from tbft.remedies.choose import DRIFT_LEVEL
from tbft.remedies.evidence import holm
from tbft.remedies.race import is_worth_training
from tbft.remedies.sample import REFRESHED, Head, Ints, Sample

IMAGES_OF_EACH = 20
"""Images of each class, on average, in the first part: label maps were exact from five on development drifts."""

FIRST_IMAGES = 200
"""Images in the first part at least. Where an accuracy of 0.85 has fallen by 8 points, the test of accuracy alone asks
for the rest, or is certain, in 87 of 100 such samples (simulated)."""

UNSURE = 0.25
"""Corrected p-value of the signs of drift below which, though drift is not certain, all images are looked at."""


class Observed(Protocol):
    """What forward passes over some images gave."""

    @property
    def samples(self) -> Mapping[str, Sample]:
        """By state of the BatchNorm statistics."""

    @property
    def head(self) -> Head:
        """Of the base model."""

    @property
    def forward(self) -> float:
        """Multiply-adds of one image's forward pass."""

    @property
    def cpu_seconds(self) -> Mapping[str, float]:
        """Of the passes, by state of the statistics."""


Seen = TypeVar("Seen", bound=Observed)


@dataclass(frozen=True)
class Look(Generic[Seen]):
    """What was seen of a sample.

    Attributes:
        positions: the images that were looked at, in ascending order.
        observation: of them.
        diagnosis: what they say.
        cpu_seconds: of all passes by state of the statistics, those of a first part that did not decide included.
    """

    positions: list[int]
    observation: Seen
    diagnosis: Diagnosis
    cpu_seconds: dict[str, float]


def look_until_decided(
    observe: Callable[[Ints], Seen],
    images: int,
    order: Ints,
    card: SourceCard,
    *,
    classes: int,
    train: int = 0,
) -> Look[Seen]:
    """Look at a first part of a sample, and at all of it if that leaves anything open.

    Refreshed statistics and the aligned block take no label, and training takes all images later on; what the other
    labels could add to them is not worth two forward passes. Each of two looks gets half of the level at which a
    sample counts as drifted, so that together they are wrong no more often than one.

    Args:
        observe: looks at the images at these positions.
        images: in the sample.
        order: positions of the images that may be in a first part, drawn at random; those that validate later on
            may not.
        card: what is known of the source.
        classes: of the model.
        train: images on which blocks may be trained by steps afterwards; 0 trains none.
    """
    count = max(FIRST_IMAGES, IMAGES_OF_EACH * classes)
    parts = [np.arange(images)]
    if count < len(order):
        parts.insert(0, np.sort(order[:count]))
    spent: Counter[str] = Counter()
    for positions in parts:
        seen = observe(positions)
        found = diagnose(seen.samples, seen.head, card, forward=seen.forward, level=DRIFT_LEVEL / len(parts))
        spent.update(seen.cpu_seconds)
        if not _is_open(found, card, train):
            break
    return Look(positions.tolist(), seen, found, dict(spent))


def _is_open(found: Diagnosis, card: SourceCard, train: int) -> bool:
    """Whether more images of the same kind could change what is done."""
    choice = found.choice
    if choice.verdict in ("cannot tell", "undecided"):
        return True
    if not choice.drifted and found.labelled and card.accuracy is None:
        return True  # a first part is large enough where the accuracy can be compared with the source's
    if not choice.drifted:
        return min(holm([sign.p for sign in choice.signs])) < UNSURE
    if not found.labelled:
        return choice.verdict == "keep"
    if "prior" in found.levels:  # class shares are counted, and every label counts
        return True
    if is_worth_training(choice.left, card, train):
        return False
    if choice.statistics == REFRESHED and "feature" not in found.levels:
        return False
    return choice.left is None or choice.left.low > 0
