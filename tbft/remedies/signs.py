"""Tests of whether anything drifted: with labels and without, as far as the source card goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Sign
from tbft.remedies.evidence import (
    clopper_pearson,
    counts_differ,
    fewer_than,
    largest_gains,
    paired_gain,
    rank_test,
)
from tbft.remedies.sample import Bools, Floats, Ints, Sample, softmax


def labelled_signs(source: Sample, labels: Ints, hits: Sequence[Bools], card: SourceCard) -> tuple[Sign, ...]:
    """Signs of drift in a labelled sample.

    Args:
        source: the sample under the source's statistics.
        labels: ``(N,)``.
        hits: whether each combination is right on each image, the base model first.
        card: what is known of the source.
    """
    signs = []
    if card.accuracy is not None:
        right = int(hits[0].sum())
        accuracy = clopper_pearson(right, len(labels))
        drop = accuracy.below(card.accuracy)
        signs.append(
            Sign("accuracy", fewer_than(right, len(labels), card.accuracy, card.images), drop, "below the source's")
        )
    prior = card.prior_of(source.num_classes)
    signs.append(_share_sign("class shares", np.bincount(labels, minlength=len(prior)), prior))
    if card.confidences is not None:
        signs.append(confidence_sign(source, card))
    if len(hits) > 1:
        p = largest_gains(np.array([hit.astype(np.float64) - hits[0] for hit in hits[1:]]))
        best = int(np.argmin(p))
        signs.append(
            Sign("gain", float(p[best]), paired_gain(hits[0], hits[1 + best]).interval, "gained by one remedy")
        )
    return tuple(signs)


def confidence_sign(source: Sample, card: SourceCard) -> Sign:
    """Whether the base model is less confident than on the source (rank test)."""
    assert card.confidences is not None
    confidences = softmax(source.logits / card.temperature).max(axis=1)
    drop = float(np.mean(card.confidences) - confidences.mean())
    return Sign("confidence", rank_test(confidences, card.confidences), drop, "less confident than on the source")


def prediction_sign(source: Sample, card: SourceCard) -> Sign:
    """Whether the base model predicts the classes in other shares than on the source."""
    prior = card.prior_of(source.num_classes)
    expected = prior if card.confusion is None else prior @ card.confusion
    counts = np.bincount(source.logits.argmax(axis=1), minlength=len(prior))
    return _share_sign("predicted shares", counts, expected)


def _share_sign(name: str, counts: Ints, expected: Floats) -> Sign:
    moved = float(np.abs(counts / counts.sum() - expected).sum() / 2)
    return Sign(name, counts_differ(counts, expected), moved, "of the images fall into other classes")
