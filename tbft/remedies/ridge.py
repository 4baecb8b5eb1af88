"""Ridge regression onto one-hot labels, for all penalties from one decomposition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tbft.remedies.sample import Floats, Head, Ints


class Ridge:
    """Ridge regression of one sample, of what a head to start from leaves unexplained.

    It minimises ``|x w + b - (onehot(y) - start(x))|^2 + a |w|^2`` and adds the start. The strength ``a`` is the
    penalty times N times the mean variance of a feature, so that one penalty means the same whatever the number of
    images and the scale of the features. With the eigenvalues ``e`` and eigenvectors of the smaller of the two Gram
    matrices of the centred features, each solution takes a division by ``e + a`` and a product (Hastie, Tibshirani and
    Friedman, The Elements of Statistical Learning, 2nd ed., sections 3.4.1 and 18.3.5).

    Args:
        features: ``(N, F)``.
        labels: ``(N,)``, from 0 to ``num_classes - 1``.
        num_classes: C.
    """

    def __init__(self, features: ArrayLike, labels: Ints, num_classes: int) -> None:
        self.features = np.asarray(features, dtype=np.float64)
        self.targets = np.eye(num_classes)[labels]
        self.mean = self.features.mean(axis=0)
        centred = self.features - self.mean
        images, size = centred.shape
        self.wide = images < size
        values, vectors = np.linalg.eigh(centred @ centred.T if self.wide else centred.T @ centred)
        self.values: Floats = values.clip(min=0.0)  # rounding can leave them just below
        # The weight is left @ (projected rest / (values + strength)); images project the rest, N rows each.
        self.left: Floats = centred.T @ vectors if self.wide else vectors
        self.images: Floats = vectors if self.wide else centred @ vectors
        self.unit = max(float(self.features.var(axis=0, ddof=1).mean()), 1e-12) * images if images > 1 else 1e-12

    def solve(self, penalty: float, start: Head | None = None) -> Head:
        """The head: the start, which may be nothing, and what the regression adds to it."""
        rest, mean = self._rest(start)
        added = (self.left @ ((self.images.T @ (rest - mean)) / (self.values + penalty * self.unit)[:, None])).T
        bias = mean - added @ self.mean
        return Head(added, bias) if start is None else Head(start.weight + added, start.bias + bias)

    def held_out(self, penalty: float, start: Head | None = None) -> Floats:
        """Logits ``(N, C)`` of each image by the solution from all others, exact.

        The residual of an image that was left out is its residual over one less its leverage. The penalty's unit, and
        the start, in which no label has a part, stay those of the whole sample.
        """
        rest, mean = self._rest(start)
        # Of a wide sample `images` are the eigenvectors themselves: a fit weighs them by value / (value + strength).
        weights = (self.values if self.wide else 1.0) / (self.values + penalty * self.unit)
        fitted = mean + (self.images * weights) @ (self.images.T @ (rest - mean))
        leverage = 1 / len(rest) + (self.images**2 * weights).sum(axis=1)
        held_out: Floats = self.targets - (rest - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]
        return held_out

    def _rest(self, start: Head | None) -> tuple[Floats, Floats]:
        """What the start leaves unexplained ``(N, C)``, and its mean."""
        rest = self.targets if start is None else self.targets - start.logits(self.features)
        return rest, rest.mean(axis=0)
