"""Ridge regression of one-hot labels, for all penalties from one decomposition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tbft.remedies.sample import Floats, Head, Ints


class Ridge:
    """Ridge regression on one sample, starting from a given head.

    It minimises ``|x w + b - (onehot(y) - start(x))|^2 + a |w|^2`` and adds the start. The strength ``a`` is the
    penalty times N times the mean variance of a feature, so a penalty means the same for any number of images and any
    scale of the features. With the eigenvalues ``e`` and eigenvectors of the smaller of the two Gram matrices of the
    centred features, each solution takes a division by ``e + a`` and a product (Hastie, Tibshirani and Friedman, The
    Elements of Statistical Learning, 2nd ed., sections 3.4.1 and 18.3.5).

    Args:
        features: features of the images ``(N, F)``.
        labels: labels of the images ``(N,)``, from 0 to ``num_classes - 1``.
        num_classes: number of classes C.
    """

    def __init__(self, features: ArrayLike, labels: Ints, num_classes: int) -> None:
        self.features = np.asarray(features, dtype=np.float64)
        self.targets = np.eye(num_classes)[labels]
        self.mean = self.features.mean(axis=0)
        centred = self.features - self.mean
        images, size = centred.shape
        self.wide = images < size
        values, vectors = np.linalg.eigh(centred @ centred.T if self.wide else centred.T @ centred)
        self.values: Floats = values.clip(min=0.0)  # rounding can make them slightly negative
        # weight = left @ (images.T @ rest / (values + strength)), with the rest as defined in `_rest`
        self.left: Floats = centred.T @ vectors if self.wide else vectors
        self.images: Floats = vectors if self.wide else centred @ vectors
        self.unit = max(float(self.features.var(axis=0, ddof=1).mean()), 1e-12) * images if images > 1 else 1e-12

    def solve(self, penalty: float, start: Head | None = None) -> Head:
        """Return the solved head: the start, if there is one, plus the weights of the regression.

        Args:
            penalty: relative penalty.
            start: head to start from; ``None`` starts from zero.
        """
        rest, mean = self._rest(start)
        added = (self.left @ ((self.images.T @ (rest - mean)) / (self.values + penalty * self.unit)[:, None])).T
        bias = mean - added @ self.mean
        return Head(added, bias) if start is None else Head(start.weight + added, start.bias + bias)

    def held_out(self, penalty: float, start: Head | None = None) -> Floats:
        """Return the logits ``(N, C)`` of each image by the exact solution from all other images.

        The residual of a left-out image is its residual in the whole fit divided by one minus its leverage. The unit of
        the penalty and the start, neither of which uses labels, stay those of the whole sample.

        Args:
            penalty: relative penalty.
            start: head to start from; ``None`` starts from zero.
        """
        rest, mean = self._rest(start)
        # In a wide sample `images` has the eigenvectors alone, so a fit weighs them by value / (value + strength).
        weights = (self.values if self.wide else 1.0) / (self.values + penalty * self.unit)
        fitted = mean + (self.images * weights) @ (self.images.T @ (rest - mean))
        leverage = 1 / len(rest) + (self.images**2 * weights).sum(axis=1)
        held_out: Floats = self.targets - (rest - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]
        return held_out

    def _rest(self, start: Head | None) -> tuple[Floats, Floats]:
        """Return the targets minus the start's logits ``(N, C)``, and their mean ``(C,)``."""
        rest = self.targets if start is None else self.targets - start.logits(self.features)
        return rest, rest.mean(axis=0)
