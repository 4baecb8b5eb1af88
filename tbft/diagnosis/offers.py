"""What each remedy would bring over the base model, and what it would cost."""

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
    """What one combination of remedies would bring.

    Attributes:
        remedies: names, in the order applied.
        accuracy: with its 95 % interval: leave-one-out, or estimated without labels.
        gain: over the base model, with its 95 % interval; ``None`` for the base model itself, and for what no estimate
            without labels tells from it.
        cost: estimated multiply-adds beyond the forward pass of the sample.
        passes: the same in forward passes over the sample; ``None`` where a pass's cost is not known.
        same_as: an earlier combination that ends with the same model, such as one whose label map changes nothing.
        chosen: whether this one is to be used.
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
        """The remedies, one after another."""
        return " + ".join(self.remedies)


def offers_of(choice: Choice, source: Sample, forward: float) -> tuple[Offer, ...]:
    """An offer for each step of a choice, in the same order.

    Args:
        choice: of this sample.
        source: the sample under the base model's statistics.
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
    """Those that end with a model of their own, and the chosen one."""
    return [offer for offer in offers if offer.same_as is None or offer.chosen]


def _gain_of(step: Step, candidate: Candidate, first: Step, base: Candidate, source: Sample) -> Interval | None:
    if candidate is base:
        return None
    labels = source.labels
    if labels is not None:
        return paired_gain(correct(base.fit.logits, labels), correct(candidate.fit.logits, labels)).interval
    if candidate.statistics == base.statistics:  # without labels such a remedy is judged by its signs alone
        return None
    return _difference(first.accuracy, step.accuracy)


def _difference(before: Interval, after: Interval) -> Interval:
    """The difference of two estimates, as if they were independent.

    From their own intervals (Zou and Donner 2008, Statistics in Medicine 27). Two estimates of one sample agree more
    than that, so that the interval is rather too wide.
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
