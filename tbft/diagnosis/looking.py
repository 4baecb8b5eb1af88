"""Diagnose a first part of a sample, and all of it only where more images could change the decision."""

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
"""Least number of images per class, on average, in the first part. On development drifts five sufficed for exact label
maps."""

FIRST_IMAGES = 200
"""Least number of images in the first part. After a fall from an accuracy of 0.85 by 8 points, the test of accuracy
alone shows drift or leads to a look at the rest in 87 of 100 such samples (simulated)."""

UNSURE = 0.25
"""Corrected p-value of the signs of drift below which all images are looked at although drift is not certain."""


class Observed(Protocol):
    """The result of forward passes over some images."""

    @property
    def samples(self) -> Mapping[str, Sample]:
        """Features, logits and labels by state of the BatchNorm statistics."""

    @property
    def head(self) -> Head:
        """Head of the base model."""

    @property
    def forward(self) -> float:
        """Multiply-adds of one image's forward pass."""

    @property
    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU-seconds of the passes, by state of the statistics."""


Seen = TypeVar("Seen", bound=Observed)


@dataclass(frozen=True)
class Look(Generic[Seen]):
    """The images of a sample that were looked at, and their diagnosis.

    Attributes:
        positions: positions of these images in the sample, in ascending order.
        observation: result of the forward passes over them.
        diagnosis: diagnosis of them.
        cpu_seconds: CPU-seconds of all passes by state of the statistics, also of a first part that did not decide.
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
    """Diagnose a first part of a sample, and all of it if the part leaves the decision open.

    The rest is not looked at where refreshed statistics, an aligned block or training follow: the first two use no
    labels, and training uses all images anyway, so more labels are not worth two forward passes. Each of two looks has
    half of the level at which a sample counts as drifted, so that two looks have no more false alarms than one.

    Args:
        observe: function that runs the forward passes over the images at given positions.
        images: number of images in the sample.
        order: positions of the images that may be in the first part, in random order; images that validate later on
            may not.
        card: source card of the base model.
        classes: number of classes of the model.
        train: number of images on which blocks may be trained by steps afterwards; 0 if training is not allowed.
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
    """Return whether more images of the same kind could change the decision."""
    choice = found.choice
    if choice.verdict in ("cannot tell", "undecided"):
        return True
    if not choice.drifted and found.labelled and card.accuracy is None:
        return True  # a first part is large enough where the accuracy can be compared with the source's
    if not choice.drifted:
        return min(holm([sign.p for sign in choice.signs])) < UNSURE
    if not found.labelled:
        return choice.verdict == "keep"
    if "prior" in found.levels:  # class shares are more exact with every label
        return True
    if is_worth_training(choice.left, card, train):
        return False
    if choice.statistics == REFRESHED and "feature" not in found.levels:
        return False
    return choice.left is None or choice.left.low > 0
