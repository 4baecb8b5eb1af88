"""Which part of the network is trained where remedies without gradients leave much to gain."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from tbft.remedies.card import SourceCard
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import REFRESHED

WORTH_TRAINING = 0.12
"""Accuracy below the source's from which on a block is trained by steps. An aligned front block leaves 0.06 and 0.08 on
CIFAR-10's contrast and gaussian_noise, where the level's block trained by steps ends within half a point of it; the
sub-populations of tiny-breeds leave 0.3, of which the last stage brings back nearly half."""

MANY_LABELS = 1000
"""Training images from which on less need be left: half of it with twice as many, but not under ``WORTH_LESS``. What
the aligned block leaves of contrast, gaussian_noise and zoom_blur is worth training with many labels alone: 1.6 points
on average with 3,000 labels (1 seed) and, where so much is left, 0.6 with 2,000 (2 seeds), at seven to ten times the
processor time."""

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

Trained = Literal["input", "feature", "output", "full", "small"]
"""A drift level, whose block is trained by its recipe, or the whole network; ``small``: all of a small one."""

CHEAP = 5e10
"""Multiply-adds for which all of a small network is trained: about two CPU-seconds, less than importing torch takes.
Digits' takes 1.5e10 with 300 images, ResNet-26 on CIFAR-10's 1.8e11 with the fewest that may train it."""

TRUSTED = 0.15
"""Accuracy below the source's up to which wrong labels cannot lead training astray, for they are part of what is left.
Digits under contrast are left with 0.04 to 0.09 by refreshed statistics and a solved head, with a fifth of the labels
wrong with 0.25 and more, where training the whole network costs 6 points against the level's block."""

SMALL_EPOCHS = 6
"""Of a small network; says ``strategy/tuned-full-small.yaml`` too."""

_PASSES_OF_A_STEP = 3
"""Forward passes that a training step costs: one, and the backward pass for two."""


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


def contenders_for(levels: Collection[str], left: Interval, card: SourceCard, statistics: str) -> tuple[Trained, ...]:
    """What may be trained: the block of each level that drifted, and all blocks where errors are many.

    Where neither images nor features are known to have drifted, the statistics that stand tell which of them it was.

    Args:
        levels: that drifted.
        left: accuracy below the source's.
        card: what is known of the source.
        statistics: state of the BatchNorm statistics that stand.
    """
    blocks: list[Trained] = []
    if "input" in levels or ("feature" not in levels and statistics == REFRESHED):
        blocks.append("input")
    if "feature" in levels or not blocks:
        blocks.append("feature")
    return (*blocks, "full") if _makes_many_errors(left, card) else tuple(blocks)


def is_cheap_to_train(levels: Collection[str], left: Interval | None, images: int, forward: float) -> bool:
    """Whether the whole of a network is trained at once, with neither alignment nor race before it.

    A network this small costs less to train than to choose what of it to train. So it is where the images drifted and
    anything is left at all, by the best estimate, but not where wrong labels might be what is left.

    Args:
        levels: that drifted.
        left: accuracy below the source's, without alignment; ``None`` where that is not known.
        images: labelled ones that would train.
        forward: multiply-adds of one image's forward pass.
    """
    if left is None or not 0 < left.value < TRUSTED or not {"input", "feature"} & set(levels):
        return False
    return _PASSES_OF_A_STEP * SMALL_EPOCHS * images * forward <= CHEAP


def _makes_many_errors(left: Interval, card: SourceCard) -> bool:
    errors = 1 - (card.accuracy or 0.0)
    return errors + left.value >= MANY_ERRORS * errors
