"""The offers of a diagnosis: gain over the base model and cost of each combination of remedies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tbft.remedies.choice import Choice, Step
from tbft.remedies.combinations import Candidate
from tbft.remedies.evidence import Interval, paired_gain
from tbft.remedies.sample import Sample, correct

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Offer:
    """Gain and cost of one combination of remedies.

    Attributes:
        remedies: names of the remedies in the order applied.
        accuracy: leave-one-out accuracy, or an estimate without labels, with its 95 % interval.
        gain: gain in accuracy over the base model, with its 95 % interval; ``None`` for the base model itself, and for
            remedies whose gain cannot be estimated without labels.
        cost: estimated multiply-adds beyond the forward pass of the sample.
        passes: cost in forward passes over the sample; ``None`` if the cost of a pass is not known.
        same_as: earlier combination that gives the same model, as when a label map changes nothing; ``None`` if none.
        chosen: whether this is the combination to use.
    """

    remedies: tuple[str, ...]
    accuracy: Interval
    gain: Interval | None
    cost: float
    passes: float | None
    same_as: tuple[str, ...] | None
    chosen: bool

    @property
    def name(self) -> str:
        """Names of the remedies, joined by ``+``."""
        return " + ".join(self.remedies)


def offers_of(choice: Choice, source: Sample, forward: float) -> tuple[Offer, ...]:
    """Return an offer for each step of a choice, in the same order.

    Args:
        choice: remedies chosen for the sample.
        source: sample under the base model's statistics.
        forward: multiply-adds of one image's forward pass; 0 if not known.
    """
    tried = {candidate.remedies: candidate for candidate in choice.tried}
    found: list[Offer] = []
    for step in choice.steps:
        candidate = tried[step.remedies]
        earlier = [tried[offer.remedies] for offer in found if offer.same_as is None]
        same = next((other.remedies for other in earlier if _is_same(candidate, other)), None)
        gain = _gain_of(step, candidate, choice.steps[0], choice.tried[0], source)
        passes = step.cost / (forward * len(source)) if forward else None
        chosen = step.remedies == choice.remedies
        found.append(Offer(step.remedies, step.accuracy, gain, step.cost, passes, same, chosen))
    return tuple(found)


def distinct(offers: Sequence[Offer]) -> list[Offer]:
    """Return the offers that give different models; the chosen one is always among them."""
    return [offer for offer in offers if offer.same_as is None or offer.chosen]


def _gain_of(step: Step, candidate: Candidate, first: Step, base: Candidate, source: Sample) -> Interval | None:
    if candidate is base:
        return None
    labels = source.labels
    if labels is not None:
        return paired_gain(correct(base.fit.logits, labels), correct(candidate.fit.logits, labels)).interval
    if candidate.statistics == base.statistics:  # without labels there is no estimate of its gain
        return None
    return _difference(first.accuracy, step.accuracy)


def _difference(before: Interval, after: Interval) -> Interval:
    """Return the difference of two estimates, with an interval that treats them as independent.

    The interval follows from the intervals of the estimates (Zou and Donner 2008, Statistics in Medicine 27). Estimates
    from one sample are positively correlated, so it is rather too wide.
    """
    gain = after.value - before.value
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    return Interval(gain, max(-1.0, gain - down), min(1.0, gain + up))


def _is_same(candidate: Candidate, other: Candidate) -> bool:
    if candidate.statistics != other.statistics:
        return False
    heads = candidate.fit.whole.head, other.fit.whole.head
    return bool(
        np.allclose(heads[0].weight, heads[1].weight, atol=_TOLERANCE)
        and np.allclose(heads[0].bias, heads[1].bias, atol=_TOLERANCE)
    )
