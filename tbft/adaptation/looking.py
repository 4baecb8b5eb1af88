"""How much of a sample is looked at: a first part, and the rest only where it can still decide something."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tbft.adaptation.observation import Observation, observe
from tbft.adaptation.race import is_worth_training
from tbft.data.batches import Examples
from tbft.diagnosis import Diagnosis, diagnose
from tbft.models.classifier import Classifier
from tbft.remedies import REFRESHED, Choice, SourceCard
from tbft.remedies.choose import DRIFT_LEVEL
from tbft.remedies.evidence import holm

IMAGES_OF_EACH = 20
"""Images of each class, on average, in the first part: label maps were exact from five on development drifts."""

FIRST_IMAGES = 200
"""Images in the first part at least. Where an accuracy of 0.85 has fallen by 8 points, the test of accuracy alone asks
for the rest, or is certain, in 87 of 100 such samples (simulated)."""

UNSURE = 0.25
"""Corrected p-value of the signs of drift below which, though drift is not certain, all images are looked at."""


@dataclass(frozen=True)
class Look:
    """What was seen of a sample.

    Attributes:
        positions: the images that were looked at.
        observation: of them.
        diagnosis: what they say.
        cpu_seconds: of all passes by state of the statistics, those of a first part that did not decide included.
    """

    positions: list[int]
    observation: Observation
    diagnosis: Diagnosis
    cpu_seconds: dict[str, float]


def look_until_decided(
    classifier: Classifier,
    examples: Examples,
    card: SourceCard,
    *,
    labelled: bool,
    seed: int,
    reserved: int = 0,
    train: bool = False,
) -> Look:
    """Look at a first part of a sample, and at all of it if that leaves anything open.

    Refreshed statistics and the aligned block take no label, and training takes all images later on; what the other
    labels could add to them is not worth two forward passes. Each of two looks gets half of the level at which a
    sample counts as drifted, so that together they are wrong no more often than one.

    Args:
        classifier: with the base model's weights; as before when this returns.
        examples: images.
        card: what is known of the source.
        labelled: whether the labels count.
        seed: draws the first part, and the batches in which statistics are estimated.
        reserved: images at the end of the examples that validate later on, and belong to no first part.
        train: whether blocks may be trained by steps afterwards.
    """
    count = max(FIRST_IMAGES, IMAGES_OF_EACH * classifier.num_classes)
    drawable = len(examples) - reserved
    parts = [list(range(len(examples)))]
    if count < drawable:
        order = torch.randperm(drawable, generator=torch.Generator().manual_seed(seed))
        parts.insert(0, order[:count].sort().values.tolist())
    spent: dict[str, float] = {}
    for positions in parts:
        part = examples if len(positions) == len(examples) else examples.subset(positions)
        seen = observe(classifier, part, labelled=labelled, seed=seed)
        found = diagnose(seen.samples, seen.head, card, forward=seen.forward, level=DRIFT_LEVEL / len(parts))
        spent = {state: spent.get(state, 0.0) + seconds for state, seconds in seen.cpu_seconds.items()}
        if not _is_open(found, card, train):
            break
    return Look(positions, seen, found, spent)


def _is_open(found: Diagnosis, card: SourceCard, train: bool) -> bool:
    """Whether more images of the same kind could change what is done."""
    choice: Choice = found.choice
    if choice.verdict in ("cannot tell", "undecided"):
        return True
    if not choice.drifted:
        return min(holm([sign.p for sign in choice.signs])) < UNSURE
    if not found.labelled:
        return choice.verdict == "keep"
    if "prior" in found.levels:  # class shares are counted, and every label counts
        return True
    if train and is_worth_training(choice.left, card):
        return False
    if choice.statistics == REFRESHED and "feature" not in found.levels:
        return False
    return choice.left is None or choice.left.low > 0
