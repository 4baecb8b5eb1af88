"""What is trained, and when all of a network is trained with no race before."""

import pytest

from tbft.remedies.evidence import Interval
from tbft.remedies.race import TRUSTED, is_cheap_to_train

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
    assert is_cheap_to_train(levels, interval, 6 * images, forward) == trained
    assert not is_cheap_to_train(levels, None, 6 * images, forward)
