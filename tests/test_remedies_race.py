"""Steps of an optimiser are worth it where much is left to gain, and where labels are many, from less on."""

import pytest

from tbft.remedies import SourceCard
from tbft.remedies.evidence import Interval
from tbft.remedies.race import MANY_LABELS, WORTH_LESS, WORTH_TRAINING, is_worth_training

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
