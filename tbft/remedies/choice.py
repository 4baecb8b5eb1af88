"""What was tried, what was found, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tbft.remedies.combinations import Candidate
from tbft.remedies.evidence import Gain, Interval
from tbft.remedies.sample import Head

Verdict = Literal["keep", "adapt", "undecided", "cannot tell"]


@dataclass(frozen=True)
class Sign:
    """One test of whether anything drifted.

    Attributes:
        name: of the test.
        p: one-sided, not corrected.
        effect: in accuracy, confidence or shares of the images, with its 95 % interval.
        says: what was compared, in words.
    """

    name: str
    p: float
    effect: Interval
    says: str


@dataclass(frozen=True)
class Step:
    """One combination, and what was found.

    Attributes:
        remedies: names, in the order applied.
        statistics: state of the BatchNorm statistics.
        accuracy: leave-one-out, with its exact 95 % interval.
        gain: against what stood when it was tried; ``None`` for the base model itself.
        p: of its gain in log-likelihood against what stood, by sign flips; 1 for the base model.
        cost: estimated multiply-adds beyond the forward pass of the sample.
        accepted: whether it stood afterwards.
        reason: why, or why not.
        detail: what was fitted.
        cpu_seconds: what fitting it took, beyond the combinations before it.
    """

    remedies: tuple[str, ...]
    statistics: str
    accuracy: Interval
    gain: Gain | None
    p: float
    cost: float
    accepted: bool
    reason: str
    detail: str = ""
    cpu_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Choice:
    """What to do with a base model, from one sample.

    Attributes:
        verdict: ``adapt``, ``keep`` (no drift, or no remedy helps), ``undecided`` (more labels would tell) or
            ``cannot tell`` (the labels say nothing).
        reason: one sentence.
        remedies: names of the combination chosen; ``("keep",)`` for the base model.
        statistics: state of the BatchNorm statistics to use.
        head: to save in place of the base model's.
        drifted: whether the signs, corrected for their number, say that anything drifted.
        signs: tests of drift.
        steps: every combination in the order tried.
        accuracy: of what was chosen: leave-one-out, or estimated without labels; ``None`` where nothing tells.
        left: what the source's accuracy is above it; ``None`` without a card.
        labels_needed: how many labels would tell the best combination from what stands, where undecided.
        tried: the combinations themselves, for whoever reports on them.
    """

    verdict: Verdict
    reason: str
    remedies: tuple[str, ...]
    statistics: str
    head: Head
    drifted: bool = False
    signs: tuple[Sign, ...] = ()
    steps: tuple[Step, ...] = ()
    accuracy: Interval | None = None
    left: Interval | None = None
    labels_needed: int | None = None
    tried: tuple[Candidate, ...] = field(default=(), repr=False)
