"""The input of the remedies: a sample's features, logits and labels, and the linear head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tbft.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SOURCE = "source"
"""BatchNorm statistics of the base model."""

REFRESHED = "refreshed"
"""BatchNorm statistics estimated again on the sample."""


@dataclass(frozen=True)
class Head:
    """The linear layer of a classifier.

    Attributes:
        weight: weight matrix ``(C, F)``.
        bias: bias of each class ``(C,)``.

    Raises:
        BadInput: if the shapes of weight and bias do not fit.
    """

    weight: Floats
    bias: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", np.asarray(self.weight, np.float64))
        object.__setattr__(self, "bias", np.asarray(self.bias, np.float64))
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise BadInput(
                f"a head's weight has shape {self.weight.shape} and its bias {self.bias.shape}: give (C, F) and (C,)"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.bias)

    def logits(self, features: ArrayLike) -> Floats:
        """Return the logits ``(N, C)`` of features ``(N, F)``."""
        logits: Floats = np.asarray(features, np.float64) @ self.weight.T + self.bias
        return logits

    def equals(self, other: Head) -> bool:
        """Return whether both heads have exactly the same numbers."""
        return np.array_equal(self.weight, other.weight) and np.array_equal(self.bias, other.bias)


@dataclass(frozen=True)
class Sample:
    """A device's images after one forward pass, under one state of the BatchNorm statistics.

    Attributes:
        features: inputs of the head ``(N, F)``.
        logits: logits of the base model's head ``(N, C)``.
        labels: class of each image ``(N,)``; ``None`` without labels.

    Raises:
        BadInput: if shapes do not agree, there is no image, a feature or logit is not finite, or labels are not
            integers.
    """

    features: Floats
    logits: Floats
    labels: Ints | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", np.asarray(self.features, np.float64))
        object.__setattr__(self, "logits", np.asarray(self.logits, np.float64))
        if self.features.ndim != 2 or self.logits.ndim != 2 or len(self.features) != len(self.logits):
            raise BadInput(
                f"features of shape {self.features.shape} and logits of shape {self.logits.shape} are of no one "
                "sample: give (N, F) and (N, C)"
            )
        if not len(self.features):
            raise BadInput("the sample holds no image: give at least one")
        if not (np.isfinite(self.features).all() and np.isfinite(self.logits).all()):
            raise BadInput("the network answers the sample with numbers that are not finite: check its weights")
        if self.labels is not None:
            labels = np.asarray(self.labels)
            if labels.shape != (len(self.features),) or labels.dtype.kind not in "iu":
                raise BadInput(
                    f"labels of shape {labels.shape} and type {labels.dtype} do not fit {len(self.features)} images: "
                    "give one whole number for each"
                )
            object.__setattr__(self, "labels", labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.features)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.logits.shape[1]


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the class probabilities of logits ``(..., C)``."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probabilities


def softmax(logits: Floats) -> Floats:
    """Return the class probabilities of logits ``(..., C)``."""
    probabilities: Floats = np.exp(log_softmax(logits))
    return probabilities


def correct(logits: Floats, labels: Ints) -> Bools:
    """Return for each image ``(N,)`` whether the largest of its logits is that of its label."""
    hits: Bools = logits.argmax(axis=1) == labels
    return hits
