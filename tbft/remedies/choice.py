"""The result of choosing remedies: signs of drift, steps that were tried, and the choice."""

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
        name: name of the test.
        p: p-value, not corrected for the number of signs.
        effect: size of the drift in accuracy, confidence or share of the images, with its 95 % interval.
        says: what was compared, in words.
    """

    name: str
    p: float
    effect: Interval
    says: str


@dataclass(frozen=True)
class Step:
    """The trial of one combination of remedies against the combination accepted before it.

    Attributes:
        remedies: names of the remedies in the order applied.
        statistics: state of the BatchNorm statistics, ``source`` or ``refreshed``.
        accuracy: leave-one-out accuracy with its exact 95 % interval, or an estimate without labels.
        gain: gain in accuracy over the combination accepted before; ``None`` for the base model and without labels.
        p: p-value of the gain in log-likelihood over the combination accepted before, by sign flips; for ``prior``
            added to that combination, p-value of the change of class shares; without labels, p-value of the sign that
            calls for the remedy; 1 for the base model.
        cost: estimated multiply-adds beyond the forward pass of the sample.
        accepted: whether the combination was accepted in place of the one before.
        reason: why it was accepted or refused.
        detail: what was fitted, in words.
        cpu_seconds: CPU-seconds of fitting it, without those of the combinations that it builds on.
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
    """The remedies chosen for a base model on the evidence of one sample.

    Attributes:
        verdict: ``adapt``, ``keep`` (no drift, or no remedy helps), ``undecided`` (more labels could decide) or
            ``cannot tell`` (the labels, or the source card without labels, do not suffice).
        reason: reason for the verdict, in one sentence.
        remedies: names of the chosen combination in the order applied; ``("keep",)`` for the base model.
        statistics: state of the BatchNorm statistics to use.
        head: head to save in place of the base model's.
        drifted: whether the signs, corrected for their number, show drift.
        signs: tests of drift.
        steps: trials of all combinations, in order.
        accuracy: accuracy of the chosen combination, leave-one-out or estimated without labels; ``None`` if unknown.
        left: accuracy below the source's; ``None`` without a source card.
        labels_needed: number of labels, in all, that would decide for the best combination; only if undecided.
        tried: fitted combinations, for reports.
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
