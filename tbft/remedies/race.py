"""Which part of the network is trained where remedies without gradients leave much to gain."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from tbft.remedies.card import SourceCard
from tbft.remedies.evidence import Interval

WORTH_TRAINING = 0.12
"""Accuracy below the source's from which on a block is trained by steps. An aligned front block leaves 0.06 and 0.08 on
CIFAR-10's contrast and gaussian_noise, where the level's block trained by steps ends within half a point of it; the
sub-populations of tiny-breeds leave 0.3, of which the last stage brings back nearly half."""

MANY_LABELS = 1000
"""Training images from which on less need be left: half of it with twice as many, but not under ``WORTH_LESS``. What
the aligned block leaves of contrast, gaussian_noise and zoom_blur is worth training with many labels alone: 1.6 points on
average with 3,000 labels (1 seed) and 0.8 with 2,000 (2 seeds), at seven to ten times the processor time."""

WORTH_LESS = 0.05
"""The same where labels are many, or a model that was nearly always right makes ``MANY_ERRORS`` times its errors."""

MANY_ERRORS = 3.0
"""Errors for each of the source's from which on the whole network is trained too. Digits are left with three to five,
and gain; CIFAR-10's corruptions with 1.6 and the sub-populations of Tiny-ImageNet with 2.5, where training everything
gains at most 1.6 points at four times a block's cost."""

LEAST_VALIDATION = 20
"""Validation images without which no block is trained: of ten, one more that is right tells nothing."""

RACE_EPOCHS = 2
"""Epochs of each contender in a race; the whole schedule is run within them."""

Trained = Literal["input", "feature", "output", "full"]
"""A drift level, whose block is trained by its recipe, or the whole network."""


def is_worth_training(left: Interval | None, card: SourceCard, images: int) -> bool:
    """Whether so much is left to gain that steps of an optimiser may pay.

    Args:
        left: accuracy below the source's; ``None`` where that is not known.
        card: what is known of the source.
        images: labelled ones that would train; 0 where none may.
    """
    if not images or left is None or left.low <= 0:
        return False
    if _makes_many_errors(left, card):
        return left.value >= WORTH_LESS
    return left.value >= max(WORTH_LESS, WORTH_TRAINING * min(1.0, MANY_LABELS / images))


def contenders_for(levels: Collection[str], left: Interval, card: SourceCard) -> tuple[Trained, ...]:
    """What may be trained: the block of each level that drifted, and all blocks where errors are many.

    Args:
        levels: that drifted.
        left: accuracy below the source's.
        card: what is known of the source.
    """
    blocks: list[Trained] = []
    if "input" in levels:
        blocks.append("input")
    if "feature" in levels or not blocks:
        blocks.append("feature")
    return (*blocks, "full") if _makes_many_errors(left, card) else tuple(blocks)


def _makes_many_errors(left: Interval, card: SourceCard) -> bool:
    errors = 1 - (card.accuracy or 0.0)
    return errors + left.value >= MANY_ERRORS * errors
