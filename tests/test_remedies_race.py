"""When steps of an optimiser are worth it, and when all of a network is trained with no race before."""

import pytest

from tbft.remedies import SourceCard
from tbft.remedies.evidence import Interval
from tbft.remedies.race import (
    MANY_LABELS,
    TRUSTED,
    WORTH_LESS,
    WORTH_TRAINING,
    contenders_for,
    is_cheap_to_train,
    is_worth_training,
)

CARD = SourceCard(accuracy=0.85)


def left(value: float) -> Interval:
    return Interval(value, value - 0.04, value + 0.04)


def least_left(images: int, card: SourceCard = CARD) -> float:
    """The least accuracy left, in thousandths, that is worth training on so many images."""
    return min(value for value in range(41, 400) if is_worth_training(left(value / 1000), card, images)) / 1000


@pytest.mark.parametrize("images", [20, 100, MANY_LABELS])
def test_up_to_many_labels_their_number_changes_nothing(images: int) -> None:
    assert least_left(images) == WORTH_TRAINING


def test_the_more_labels_the_less_need_be_left_down_to_a_limit() -> None:
    leasts = [least_left(images) for images in (MANY_LABELS, 1500, 2000, 10_000, 100_000)]
    assert leasts == sorted(leasts, reverse=True) and len(set(leasts)) == 4
    assert leasts[2] == WORTH_TRAINING / 2 and leasts[-1] == WORTH_LESS


def test_a_model_that_was_nearly_always_right_is_trained_from_less_on_at_any_number() -> None:
    assert least_left(100, SourceCard(accuracy=0.99)) == WORTH_LESS


def test_nothing_is_worth_training_without_images_or_a_certain_loss() -> None:
    assert is_worth_training(left(0.2), CARD, 100)
    assert not is_worth_training(left(0.2), CARD, 0)
    assert not is_worth_training(None, CARD, 100)
    assert not is_worth_training(Interval(0.2, -0.01, 0.4), CARD, 100)


@pytest.mark.parametrize(
    ("levels", "statistics", "trained"),
    [
        (["input"], "refreshed", ("input",)),
        (["feature", "output"], "refreshed", ("input", "feature")),
        (["feature", "output"], "source", ("feature",)),
        (["input", "feature"], "refreshed", ("input", "feature")),
        ([], "refreshed", ("input",)),
        (["output"], "source", ("feature",)),
    ],
)
def test_the_blocks_of_what_drifted_and_of_what_helped_may_be_trained(levels, statistics, trained):
    assert contenders_for(levels, left(0.2), CARD, statistics) == trained
    assert contenders_for(levels, left(0.2), SourceCard(accuracy=0.95), statistics) == (*trained, "full")


SMALL, RESNET26 = 3e6, 5.5e7
"""Multiply-adds of a forward pass: digits' network, and ResNet-26 at 32 px."""


@pytest.mark.parametrize(
    ("levels", "left", "images", "forward", "trained"),
    [
        (["input"], 0.06, 270, SMALL, True),
        (["feature"], 0.01, 270, SMALL, True),
        (["output", "prior"], 0.06, 270, SMALL, False),  # the features are as they were
        (["input"], 0.0, 270, SMALL, False),  # nothing to gain
        (["input"], TRUSTED, 270, SMALL, False),  # wrong labels may be what is left
        (["input"], 0.06, 270, RESNET26, False),
        (["feature"], 0.06, 180, RESNET26, False),  # the fewest that come with enough validation images
        (["input"], 0.06, 5000, SMALL, False),
    ],
)
def test_all_is_trained_where_it_is_cheap_and_the_labels_can_be_trusted(levels, left, images, forward, trained):
    interval = Interval(left, 0.0, left + 0.03)
    assert is_cheap_to_train(levels, interval, images, forward) == trained
    assert not is_cheap_to_train(levels, None, images, forward)
