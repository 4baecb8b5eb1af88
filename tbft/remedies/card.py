"""The source card: what a base model's makers measured on source images that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbft.remedies.evidence import Interval
from tbft.remedies.sample import Floats, Head, Ints, correct, log_softmax, softmax

_TEMPERATURES = tuple(2.0 ** (power / 4) for power in range(-8, 17))


@dataclass(frozen=True)
class Moments:
    """First and second moments of a block's output, over images and positions.

    Attributes:
        mean: ``(D,)``: C channels, or C times the positions of a neighbourhood.
        covariance: ``(D, D)``.
        neighbourhood: side of the square of positions whose channels are taken together.
    """

    mean: Floats
    covariance: Floats
    neighbourhood: int = 1


@dataclass(frozen=True)
class SourceCard:
    """What is known of a base model on its source domain; each part may be missing.

    Attributes:
        accuracy: a fraction of 1.
        images: how many it was measured on.
        prior: share of each class in training ``(C,)``.
        confusion: of source images of a class, the share that is predicted as each class ``(C, C)``.
        temperature: divides the logits so that confidence is accuracy on average.
        confidences: largest class probability of some source images, at that temperature ``(M,)``.
        class_means: mean feature of each class ``(C, F)``.
        covariance: of the features about their class's mean ``(F, F)``.
        moments: of the output of the block that is tuned for input-level drift.
    """

    accuracy: float | None = None
    images: int | None = None
    prior: Floats | None = None
    confusion: Floats | None = None
    temperature: float = 1.0
    confidences: Floats | None = None
    class_means: Floats | None = None
    covariance: Floats | None = None
    moments: Moments | None = None

    def prior_of(self, num_classes: int) -> Floats:
        """The class prior in training; all classes alike where the card does not say."""
        return np.full(num_classes, 1 / num_classes) if self.prior is None else np.asarray(self.prior, np.float64)

    def left_above(self, accuracy: Interval) -> Interval | None:
        """By how much the source's accuracy is above another one; ``None`` where the card does not say."""
        if self.accuracy is None:
            return None
        left = accuracy.below(self.accuracy)
        return Interval(*(max(0.0, value) for value in (left.value, left.low, left.high)))


def measure_card(features: Floats, labels: Ints, head: Head, prior: Floats | None = None) -> SourceCard:
    """The card of a base model, from source images that it was not trained on.

    Args:
        features: ``(N, F)``.
        labels: ``(N,)``.
        head: of the base model.
        prior: of its training images ``(C,)``; ``None`` takes that of these images.
    """
    logits, classes = head.logits(features), head.num_classes
    temperature = fit_temperature(logits, labels)
    counts = np.bincount(labels, minlength=classes)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1.0)
    means = np.zeros((classes, features.shape[1]))
    np.add.at(means, labels, features)
    means /= np.maximum(counts, 1)[:, None]
    centred = features - means[labels]
    return SourceCard(
        accuracy=float(correct(logits, labels).mean()),
        images=len(labels),
        prior=counts / counts.sum() if prior is None else prior,
        confusion=confusion / np.maximum(counts, 1)[:, None],
        temperature=temperature,
        confidences=np.sort(softmax(logits / temperature).max(axis=1)),
        class_means=means,
        covariance=centred.T @ centred / len(labels),
    )


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017, arXiv:1706.04599), from a grid 2^(k / 4)."""
    rows = np.arange(len(labels))
    return min(_TEMPERATURES, key=lambda t: -float(log_softmax(logits / t)[rows, labels].mean()))
