"""Choice of remedies for a sample without labels, by estimates of accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice, Step
from tbft.remedies.combinations import Candidate, candidates
from tbft.remedies.evidence import Interval, wilson
from tbft.remedies.sample import REFRESHED, SOURCE, Bools, Floats, Head, Sample, softmax
from tbft.remedies.signs import confidence_sign, prediction_sign

SIGN_LEVEL = 0.01
"""Level of the tests on which remedies are accepted without labels."""

LEAST_GAIN = 0.05
"""Least gain in estimated accuracy for a refresh, a fraction of 1. On new sub-populations, where refreshing gains
nothing, the estimates differ by 0.02."""

LEAST_PART = 0.5
"""Least part of the base model's lost accuracy that a refresh must bring back, both estimated. On corruptions it is 0.7
to 0.9; on sub-populations, where refreshing gains nothing and the refreshed model is overconfident too, at most 0.4."""

COLLAPSED = 0.5
"""Least share of the images predicted in other classes than on the source, from which on the images and not the class
shares are taken to have changed, provided that refreshed statistics bring more than half of them back. A change of
class shares to ten times fewer images of the last class than of the first moves 0.3."""

MODEL_ERROR = 0.05
"""Half-width of the error of an accuracy estimate without labels, added to its sampling error in quadrature: twice its
mean error on development corruptions."""

_BISECTIONS = 40


def choose_unlabelled(samples: Mapping[str, Sample], head: Head, card: SourceCard, *, forward: float = 0.0) -> Choice:
    """Choose among the remedies that need neither gradients nor labels.

    Changed class shares and changed images both change the predictions; confidence tells them apart: it stays under
    other class shares alone and falls when images change. So statistics are refreshed only if the base model has lost
    confidence, or most predictions fall into few classes, and the estimated accuracy gains by it. The prior follows the
    predictions only if neither is the case.

    Args:
        samples: sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: head of the base model.
        card: source card of the base model.
        forward: multiply-adds of one image's forward pass, for the costs.
    """
    kept = Choice("cannot tell", "", ("keep",), SOURCE, head)
    if card.confidences is None or card.accuracy is None:
        return replace(
            kept, reason="cannot tell: without labels it takes a source card, and this base model has none; give labels"
        )
    tried = {candidate.remedies: candidate for candidate in candidates(samples, head, card, forward)}
    signs = confidence_sign(samples[SOURCE], card), prediction_sign(samples[SOURCE], card)
    unsure, skewed = (sign.p <= SIGN_LEVEL for sign in signs)
    lost = None
    if unsure:
        lost = "the base model has lost confidence"
    elif has_collapsed(samples, card):
        lost = "most predictions have fallen into a few classes"
    base = estimate_accuracy(samples, card)
    steps = [_step(tried[("keep",)], base, 1.0, (True, "the base model"))]
    accuracies: dict[tuple[str, ...], Interval] = {("keep",): base, ("prior",): base}
    if REFRESHED in samples:
        refreshed = accuracies[("refresh",)] = threshold_accuracy(samples[REFRESHED], card)
        judged = _judge_refresh(lost, refreshed.value - base.value, card.accuracy - base.value)
        steps.append(_step(tried[("refresh",)], refreshed, signs[0].p, judged))
    steps.append(_step(tried[("prior",)], base, signs[1].p, _judge_prior(lost, skewed)))
    chosen = next(step for step in reversed(steps) if step.accepted)
    if chosen.remedies != ("keep",):
        reason = chosen.reason
    elif lost:
        reason = f"{lost}, and no remedy without labels is seen to help: collect labels"
    else:
        reason = "nothing in the sample shows drift"
    return Choice(
        "keep" if chosen.remedies == ("keep",) else "adapt",
        reason,
        chosen.remedies,
        chosen.statistics,
        tried[chosen.remedies].fit.whole.head,
        lost is not None or skewed,
        signs,
        tuple(steps),
        accuracies[chosen.remedies],
        card.left_above(accuracies[chosen.remedies]),
        tried=tuple(tried.values()),
    )


def _judge_refresh(lost: str | None, gain: float, missing: float) -> tuple[bool, str]:
    if not lost:
        return False, "the base model is as confident as on the source"
    if gain < max(LEAST_GAIN, LEAST_PART * missing):
        return False, f"estimated accuracy gains too little ({100 * gain:+.1f} of {100 * missing:.1f} points lost)"
    return True, f"{lost}, and estimated accuracy gains {100 * gain:.1f} points"


def _judge_prior(lost: str | None, skewed: bool) -> tuple[bool, str]:
    if lost:
        return False, f"{lost}, which hides the class shares"
    if not skewed:
        return False, "the classes come in the source's shares"
    return True, "the predictions have moved to other classes, and the base model is as confident as on the source"


def estimate_accuracy(samples: Mapping[str, Sample], card: SourceCard) -> Interval:
    """Estimate the base model's accuracy on an unlabelled sample.

    The estimate is average thresholded confidence (Garg et al. 2022, arXiv:2201.04234). Where the model has lost
    confidence there is a second estimate by the refreshed model, whose confidence is more reliable: the mean
    probability that it gives to the base model's answers, after calibration to its own estimated accuracy. Where the
    predictions have collapsed into few classes, the second estimate is the share of predictions that did not move. The
    lower estimate counts.

    Args:
        samples: sample by state of the statistics.
        card: source card with ``confidences`` and ``accuracy``.
    """
    own = threshold_accuracy(samples[SOURCE], card)
    if has_collapsed(samples, card):  # answers beyond a class's share are wrong, however confident
        moved = prediction_sign(samples[SOURCE], card).effect.value
        return _with_model_error(min(own.value, 1 - moved), len(samples[SOURCE]))
    if REFRESHED not in samples or confidence_sign(samples[SOURCE], card).p > SIGN_LEVEL:
        return own
    logits = samples[REFRESHED].logits
    judge = calibrated_to(logits, threshold_accuracy(samples[REFRESHED], card).value)
    judged = float(judge[np.arange(len(judge)), samples[SOURCE].logits.argmax(axis=1)].mean())
    return _with_model_error(min(own.value, judged), len(logits))


def has_collapsed(samples: Mapping[str, Sample], card: SourceCard) -> bool:
    """Return whether the base model predicts few classes for most images, and not so with refreshed statistics.

    Confidence does not show this: a model that predicts a single class may be sure of it.
    """
    if REFRESHED not in samples:
        return False
    moved, left = (prediction_sign(samples[state], card).effect.value for state in (SOURCE, REFRESHED))
    return moved >= COLLAPSED and left < moved / 2


def threshold_accuracy(sample: Sample, card: SourceCard) -> Interval:
    """Estimate accuracy as the share of the images that ``claims_to_be_right`` counts as right."""
    return _with_model_error(float(claims_to_be_right(sample, card).mean()), len(sample))


def claims_to_be_right(sample: Sample, card: SourceCard) -> Bools:
    """Return for each image ``(N,)`` whether the model's confidence reaches a threshold set on the source.

    On source images the share above the threshold is the accuracy.
    """
    assert card.confidences is not None and card.accuracy is not None
    threshold = np.quantile(card.confidences, 1 - card.accuracy)
    return _confidence(sample, card) >= threshold


def calibrated_to(logits: Floats, accuracy: float) -> Floats:
    """Return class probabilities ``(N, C)`` at the temperature at which mean confidence equals a given accuracy.

    Args:
        logits: ``(N, C)``.
        accuracy: a fraction of 1.
    """
    low, high = -4.0, 8.0  # exponents of two
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if softmax(logits / 2**middle).max(axis=1).mean() > accuracy else (low, middle)
    return softmax(logits / 2**low)


def _confidence(sample: Sample, card: SourceCard) -> Floats:
    confidence: Floats = softmax(sample.logits / card.temperature).max(axis=1)
    return confidence


def _with_model_error(accuracy: float, images: int) -> Interval:
    sampled = wilson(accuracy, images)
    down, up = (math.hypot(end - accuracy, MODEL_ERROR) for end in (sampled.low, sampled.high))
    return Interval(accuracy, max(0.0, accuracy - down), min(1.0, accuracy + up))


def _step(candidate: Candidate, accuracy: Interval, p: float, judged: tuple[bool, str]) -> Step:
    told = candidate.remedies, candidate.statistics, accuracy, None, p, candidate.cost, *judged
    return Step(*told, candidate.fit.detail, candidate.cpu_seconds)
