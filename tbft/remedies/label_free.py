"""Without labels: how accurate the model is, and which remedies that calls for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice, Step
from tbft.remedies.combinations import Candidate, candidates
from tbft.remedies.evidence import Interval, wilson
from tbft.remedies.sample import REFRESHED, SOURCE, Floats, Head, Sample, softmax
from tbft.remedies.signs import confidence_sign, prediction_sign

SIGN_LEVEL = 0.01
"""Level of each test that lets something change without a label."""

LEAST_GAIN = 0.05
"""Estimated accuracy that a refresh has to gain, a fraction of 1: on new sub-populations, where refreshing brings
nothing, the estimates differ by 0.02."""

MODEL_ERROR = 0.05
"""Half-width that the estimate's own error adds to the interval: twice its mean error on development corruptions."""

_BISECTIONS = 40


def choose_unlabelled(samples: Mapping[str, Sample], head: Head, card: SourceCard, *, forward: float = 0.0) -> Choice:
    """Climb the remedies that need neither gradients nor labels.

    Confidence tells the two apart that look alike in the predictions: under other class shares alone it stays, under
    a change of the images it falls. So statistics are refreshed only if the base model has lost confidence and the
    estimate of accuracy says that refreshing gains; and the prior follows the predictions only if it has not.

    Args:
        samples: the sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: of the base model.
        card: what is known of the source.
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
    base = estimate_accuracy(samples, card)
    steps = [_step(tried[("keep",)], base, 1.0, True, "the base model")]
    chosen, accuracy = ("keep",), base
    reason = "nothing in the sample shows drift"
    if REFRESHED in samples:
        refreshed = threshold_accuracy(samples[REFRESHED], card)
        accepted = unsure and refreshed.value - base.value >= LEAST_GAIN
        why = (
            "the base model has lost confidence, and estimated accuracy comes back"
            if accepted
            else "estimated accuracy gains too little"
            if unsure
            else "the base model is as confident as on the source"
        )
        steps.append(_step(tried[("refresh",)], refreshed, signs[0].p, accepted, why))
        if accepted:
            chosen, accuracy, reason = ("refresh",), refreshed, why
    if unsure and chosen == ("keep",):
        reason = "the base model has lost confidence and nothing without labels brings it back: collect labels"
    prior_accepted = skewed and not unsure
    why = (
        "predictions have moved and confidence has not"
        if prior_accepted
        else (
            "predictions of a model that has lost confidence tell no prior"
            if unsure
            else "classes come in the source's shares"
        )
    )
    steps.append(_step(tried[("prior",)], base, signs[1].p, prior_accepted, why))
    if prior_accepted:
        chosen, reason = ("prior",), why
    candidate = tried[chosen]
    return Choice(
        "keep" if chosen == ("keep",) else "adapt",
        reason,
        chosen,
        candidate.statistics,
        candidate.fit.whole.head,
        unsure or skewed,
        signs,
        tuple(steps),
        accuracy,
        Interval(*(max(0.0, card.accuracy - value) for value in (accuracy.value, accuracy.high, accuracy.low))),
        tried=tuple(tried.values()),
    )


def estimate_accuracy(samples: Mapping[str, Sample], card: SourceCard) -> Interval:
    """The base model's accuracy on an unlabelled sample.

    Average thresholded confidence (Garg et al. 2022, arXiv:2201.04234). A model that has lost confidence is judged by
    the refreshed one too, whose confidence can be trusted further: by the probability that the refreshed model,
    calibrated to its own estimate, gives to the base model's answers. The lower of the two counts.

    Args:
        samples: by state of the statistics.
        card: with ``confidences`` and ``accuracy``.
    """
    own = threshold_accuracy(samples[SOURCE], card)
    if REFRESHED not in samples or confidence_sign(samples[SOURCE], card).p > SIGN_LEVEL:
        return own
    logits = samples[REFRESHED].logits
    judge = calibrated_to(logits, threshold_accuracy(samples[REFRESHED], card).value)
    judged = float(judge[np.arange(len(judge)), samples[SOURCE].logits.argmax(axis=1)].mean())
    return _with_model_error(min(own.value, judged), len(logits))


def threshold_accuracy(sample: Sample, card: SourceCard) -> Interval:
    """Share of the images above the confidence that, on the source, as many images exceed as are right."""
    assert card.confidences is not None and card.accuracy is not None
    threshold = np.quantile(card.confidences, 1 - card.accuracy)
    return _with_model_error(float((_confidence(sample, card) >= threshold).mean()), len(sample))


def calibrated_to(logits: Floats, accuracy: float) -> Floats:
    """Class probabilities ``(N, C)`` at the temperature at which mean confidence is an accuracy."""
    low, high = -4.0, 8.0  # powers of two
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


def _step(candidate: Candidate, accuracy: Interval, p: float, accepted: bool, reason: str) -> Step:
    return Step(
        candidate.remedies,
        candidate.statistics,
        accuracy,
        None,
        p,
        candidate.cost,
        accepted,
        reason,
        candidate.fit.detail,
    )
