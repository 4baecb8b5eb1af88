"""How the front block is aligned, and whether it then takes the place of what was chosen without it."""

from __future__ import annotations

from tbft.remedies.choice import Choice
from tbft.remedies.combinations import Candidate
from tbft.remedies.evidence import largest_gains, paired_gain
from tbft.remedies.label_free import LEAST_GAIN
from tbft.remedies.sample import REFRESHED, Sample, correct

STEPS = 30
LEARNING_RATE = 4e-3
"""At the peak of one cycle; both found on CIFAR-10 with gaussian_noise and contrast at severity 5."""

_DRAWS = 999


def judge_aligned(choice: Choice, aligned: Choice, source: Sample) -> tuple[bool, str]:
    """Whether what is chosen with the aligned block takes the place of what was chosen without.

    Without labels it does unless the estimate falls by more than estimates differ where nothing has changed.
    """
    if aligned.statistics != REFRESHED:
        return False, "with the aligned block no remedy stands"
    if source.labels is None:
        assert choice.accuracy is not None and aligned.accuracy is not None
        points = 100 * (aligned.accuracy.value - choice.accuracy.value)
        return points >= -100 * LEAST_GAIN, f"estimated accuracy changes by {points:+.1f} points"
    before, after = candidate_chosen(choice), candidate_chosen(aligned)
    assert before is not None and after is not None
    differences = after.scores(source.labels) - before.scores(source.labels)
    gain = paired_gain(correct(before.fit.logits, source.labels), correct(after.fit.logits, source.labels))
    p = float(largest_gains(differences[None], _DRAWS)[0])
    if differences.mean() < 0:
        return False, "the labels are less likely than before"
    return True, f"the labels are more likely than before (p = {p:.2g}; {gain.better} images won, {gain.worse} lost)"


def candidate_chosen(choice: Choice) -> Candidate | None:
    """The combination that was chosen; ``None`` where the labels allowed none to be tried."""
    return next((candidate for candidate in choice.tried if candidate.remedies == choice.remedies), None)
