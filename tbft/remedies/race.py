"""Decide which part of the network is trained by steps where the remedies without gradients leave much to gain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tbft.remedies.card import SourceCard
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import REFRESHED
from tbft.remedies.validated import Score

WORTH_TRAINING = 0.12
"""Least accuracy below the source's at which a block is trained by steps. An aligned front block leaves 0.06 and 0.08
on CIFAR-10's contrast and gaussian_noise, where the level's block trained by steps ends within half a point of it; the
sub-populations of tiny-breeds leave 0.3, of which the last stage brings back nearly half."""

MANY_LABELS = 1000
"""Number of training images above which ``WORTH_TRAINING`` falls in inverse proportion to it, down to ``WORTH_LESS``.
After alignment, training on contrast, gaussian_noise and zoom_blur pays only with many labels: 1.6 points on average
with 3,000 labels (1 seed) and, where so much is left, 0.6 with 2,000 (2 seeds), at seven to ten times the processor
time."""

WORTH_LESS = 0.05
"""Least accuracy below the source's at which a block is trained with very many labels, or where the model makes
``MANY_ERRORS`` times the source's errors."""

MANY_ERRORS = 3.0
"""Ratio of the remaining errors to the source's from which on the whole network is a contender too. Digits are left
with three to five, and gain; CIFAR-10's corruptions with 1.6 and the sub-populations of Tiny-ImageNet with 2.5, where
training everything gains at most 1.6 points at four times a block's cost."""

LEAST_VALIDATION = 20
"""Least number of validation images for training by steps: among ten, one more right answer is no evidence."""

RACE_EPOCHS = 2
"""Most epochs of each contender in a race; the learning rate schedule runs to its end within them. A contender whose
recipe is no longer, as the front block's, has then run to its end. Where the front block won on CIFAR-10's glass_blur
(3 runs with 1,000 labels), training it once more after the race took the adaptation from 2.9 to 5.3 CPU-seconds."""

Trained = Literal["input", "feature", "output", "full", "small"]
"""Part that is trained: the block of a drift level by its recipe, the whole network (``full``), or the whole of a small
network (``small``)."""


@dataclass(frozen=True)
class Outcome:
    """What training made of a network, which then has the weights of the best epoch.

    Attributes:
        score: validation score of the best epoch.
        is_complete: whether the recipe ran in its whole length.
    """

    score: Score
    is_complete: bool


CHEAP = 5e10
"""Largest number of multiply-adds of training at which a small network is trained as a whole: about two CPU-seconds,
less than importing torch takes. The network for digits takes 1.5e10 with 300 images, ResNet-26 on CIFAR-10 1.8e11 with
the fewest images that may train it."""

TRUSTED = 0.15
"""Accuracy below the source's from which on a small network is not trained as a whole. Wrong labels are part of this
loss, so below it they are too few to harm. On digits under contrast, refreshed statistics and a solved head leave 0.04
to 0.09. With a fifth of the labels wrong they leave 0.25 and more, and training the whole network costs 6 points
against the level's block."""

SMALL_EPOCHS = 6
"""Epochs of training a small network as a whole; the same number as in ``strategy/tuned-full-small.yaml``."""

_PASSES_OF_A_STEP = 3
"""Cost of a training step in forward passes: one forward pass, and a backward pass that costs two."""


def is_worth_training(left: Interval | None, card: SourceCard, images: int) -> bool:
    """Return whether enough accuracy is left to gain for training by steps.

    Args:
        left: accuracy below the source's; ``None`` if not known.
        card: source card of the base model.
        images: number of labelled images that would train; 0 if training is not allowed.
    """
    if not images or left is None or left.low <= 0:
        return False
    if _makes_many_errors(left, card):
        return left.value >= WORTH_LESS
    return left.value >= max(WORTH_LESS, WORTH_TRAINING * min(1.0, MANY_LABELS / images))


def contenders_for(levels: Collection[str], left: Interval, card: SourceCard, statistics: str) -> tuple[Trained, ...]:
    """Return the contenders: the block of each drifted level, and the whole network if errors are many.

    Only input and feature level have contenders. The front block is one behind refreshed statistics too: what a changed
    sensor leaves can look like other features. If there is no other, the feature level's block is one.

    Args:
        levels: levels that drifted.
        left: accuracy below the source's.
        card: source card of the base model.
        statistics: state of the BatchNorm statistics that are kept.
    """
    blocks: list[Trained] = []
    if "input" in levels or statistics == REFRESHED:
        blocks.append("input")
    if "feature" in levels or not blocks:
        blocks.append("feature")
    return (*blocks, "full") if _makes_many_errors(left, card) else tuple(blocks)


def is_cheap_to_train(levels: Collection[str], left: Interval | None, images: int, forward: float) -> bool:
    """Return whether the network is small enough to train as a whole, with neither alignment nor race before.

    Training such a network costs less than choosing a part of it to train. It must have drifted at input or feature
    level, and the estimated accuracy must be below the source's, but not so far that wrong labels may be the reason
    (``TRUSTED``).

    Args:
        levels: levels that drifted.
        left: accuracy below the source's, without alignment; ``None`` if not known.
        images: number of labelled images that would train.
        forward: multiply-adds of one image's forward pass.
    """
    if left is None or not 0 < left.value < TRUSTED or not {"input", "feature"} & set(levels):
        return False
    return _PASSES_OF_A_STEP * SMALL_EPOCHS * images * forward <= CHEAP


def _makes_many_errors(left: Interval, card: SourceCard) -> bool:
    errors = 1 - (card.accuracy or 0.0)
    return errors + left.value >= MANY_ERRORS * errors
