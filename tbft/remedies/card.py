"""The source card: measurements of a base model on source images that it was not trained on."""

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
        mean: mean vector ``(D,)``; D is the number of channels times the positions of a neighbourhood.
        covariance: covariance matrix ``(D, D)``.
        neighbourhood: side, in positions, of the square neighbourhood whose channels form one vector.
    """

    mean: Floats
    covariance: Floats
    neighbourhood: int = 1


@dataclass(frozen=True)
class SourceCard:
    """Known properties of a base model on its source domain; each may be missing.

    Attributes:
        accuracy: accuracy on source images, a fraction of 1.
        images: number of images that the accuracy was measured on.
        prior: share of each class in training ``(C,)``.
        confusion: share of the source images of each class (row) that is predicted as each class (column) ``(C, C)``.
        temperature: divisor of the logits that makes mean confidence about equal to accuracy.
        confidences: largest class probability of some source images, at that temperature ``(M,)``.
        class_means: mean feature vector of each class ``(C, F)``.
        covariance: covariance of the features about the mean of their class ``(F, F)``.
        moments: moments of the output of the front block, which is tuned for input-level drift.
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
        """Return the class prior ``(C,)`` in training; the uniform prior if the card has none."""
        return np.full(num_classes, 1 / num_classes) if self.prior is None else np.asarray(self.prior, np.float64)

    def left_above(self, accuracy: Interval) -> Interval | None:
        """Return how far an accuracy is below the source's, at least 0; ``None`` if the card has no accuracy."""
        if self.accuracy is None:
            return None
        left = accuracy.below(self.accuracy)
        return Interval(*(max(0.0, value) for value in (left.value, left.low, left.high)))


def measure_card(features: Floats, labels: Ints, head: Head, prior: Floats | None = None) -> SourceCard:
    """Return the card of a base model, measured on source images that it was not trained on; without moments.

    Args:
        features: features of the images ``(N, F)``.
        labels: labels of the images ``(N,)``.
        head: head of the base model.
        prior: class prior of the base model's training images ``(C,)``; ``None`` takes that of these images.
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
    """Return the temperature with the least cross-entropy (Guo et al. 2017, arXiv:1706.04599), on a grid 2^(k / 4).

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)``.
    """
    rows = np.arange(len(labels))
    return min(_TEMPERATURES, key=lambda t: -float(log_softmax(logits / t)[rows, labels].mean()))
