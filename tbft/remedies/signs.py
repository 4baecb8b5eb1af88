"""Tests of whether anything drifted, with and without labels, as far as the source card allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Sign
from tbft.remedies.evidence import (
    Interval,
    clopper_pearson,
    counts_differ,
    fewer_than,
    largest_gains,
    paired_gain,
    rank_test,
)
from tbft.remedies.sample import Bools, Floats, Ints, Sample, softmax

_RESAMPLED = 999


def labelled_signs(source: Sample, labels: Ints, hits: Sequence[Bools], card: SourceCard) -> tuple[Sign, ...]:
    """Return the signs of drift in a labelled sample.

    Args:
        source: sample under the source's statistics.
        labels: labels of the sample ``(N,)``.
        hits: for each combination, whether each image is right ``(N,)``; the base model first.
        card: source card of the base model.
    """
    signs = []
    if card.accuracy is not None:
        right = int(hits[0].sum())
        accuracy = clopper_pearson(right, len(labels))
        drop = accuracy.below(card.accuracy)
        signs.append(
            Sign(
                "accuracy",
                fewer_than(right, len(labels), card.accuracy, card.images),
                drop,
                "accuracy below the source's",
            )
        )
    prior = card.prior_of(source.num_classes)
    counts = np.bincount(labels, minlength=len(prior))
    signs.append(_share_sign("class shares", "labels in other classes", counts, prior))
    if card.confidences is not None:
        signs.append(confidence_sign(source, card))
    if len(hits) > 1:
        chances = largest_gains(np.array([hit.astype(np.float64) - hits[0] for hit in hits[1:]]))
        best = int(np.argmin(chances))
        gained = paired_gain(hits[0], hits[1 + best]).interval
        signs.append(Sign("gain", float(chances[best]), gained, "gain of the best remedy, corrected for all tried"))
    return tuple(signs)


def confidence_sign(source: Sample, card: SourceCard) -> Sign:
    """Test whether the base model is less confident than on the source (rank test).

    Args:
        source: sample under the source's statistics.
        card: source card with ``confidences``.
    """
    assert card.confidences is not None
    confidences = softmax(source.logits / card.temperature).max(axis=1)
    drop = float(np.mean(card.confidences) - confidences.mean())
    variance = confidences.var() / len(confidences) + np.var(card.confidences) / len(card.confidences)
    half = NormalDist().inv_cdf(0.975) * math.sqrt(variance)
    p = rank_test(confidences, card.confidences)
    return Sign("confidence", p, Interval(drop, drop - half, drop + half), "confidence below the source's")


def prediction_sign(source: Sample, card: SourceCard) -> Sign:
    """Test whether the base model predicts other class shares than on the source.

    Args:
        source: sample under the source's statistics, or under other statistics to test those.
        card: source card; without a prior and a confusion matrix all classes are expected equally often.
    """
    prior = card.prior_of(source.num_classes)
    expected = prior if card.confusion is None else prior @ card.confusion
    counts = np.bincount(source.logits.argmax(axis=1), minlength=len(prior))
    return _share_sign("predicted shares", "predictions in other classes", counts, expected)


def _share_sign(name: str, says: str, counts: Ints, expected: Floats) -> Sign:
    """Test whether class shares differ from expected ones.

    The effect is the total variation distance: the share of the images that is in other classes. Its interval comes
    from resampling: the true shares are within a distance of the sample's shares, and by the triangle inequality the
    effect is within the same distance.

    Args:
        name: name of the sign.
        says: what is compared, in words.
        counts: count of each class ``(C,)``.
        expected: expected share of each class ``(C,)``.
    """
    images = int(counts.sum())
    shares = counts / images
    moved = float(np.abs(shares - expected).sum() / 2)
    resampled = np.random.default_rng(0).multinomial(images, shares, size=_RESAMPLED) / images
    half = float(np.quantile(np.abs(resampled - shares).sum(axis=1) / 2, 0.95))
    effect = Interval(moved, max(0.0, moved - half), min(1.0, moved + half))
    return Sign(name, counts_differ(counts, expected), effect, says)
