"""The aligned block stands in doubt, and goes where the labels speak against it."""

import numpy as np
import pytest

from tbft.remedies import REFRESHED, SOURCE, Choice, Head, Sample
from tbft.remedies.aligned import judge_aligned
from tbft.remedies.combinations import Candidate
from tbft.remedies.remedy import Adapted, Fit

LABELS = np.arange(200) % 4
HEAD = Head(np.eye(4), np.zeros(4))
SAMPLE = Sample(np.zeros((200, 4)), np.zeros((200, 4)), LABELS)


def chosen(logits: np.ndarray, statistics: str = REFRESHED) -> Choice:
    fit = Fit(Adapted(HEAD, np.full(4, 0.25)), (), logits)
    candidate = Candidate(("refresh",), statistics, fit, 0.0)
    return Choice("adapt", "", ("refresh",), statistics, HEAD, tried=(candidate,))


@pytest.mark.parametrize(
    ("raised", "lowered", "accepted"),
    [
        (0.3, 0.3, True),
        (0.33, -0.3, True),  # half of the labels are more likely, and all together hardly less
        (-0.3, -0.3, False),
    ],
)
def test_only_labels_that_are_clearly_less_likely_refuse_the_aligned_block(raised, lowered, accepted) -> None:
    rng = np.random.default_rng(0)
    right = np.eye(4)[LABELS]
    before = rng.normal(size=(200, 4)) + 1.5 * right
    change = rng.permutation(np.repeat([raised, lowered], 100))
    verdict, reason = judge_aligned(chosen(before), chosen(before + change[:, None] * right), SAMPLE)
    assert verdict == accepted and "p = " in reason


def test_without_refreshed_statistics_the_aligned_block_does_not_stand() -> None:
    logits = np.eye(4)[LABELS]
    assert not judge_aligned(chosen(logits), chosen(logits, SOURCE), SAMPLE)[0]
