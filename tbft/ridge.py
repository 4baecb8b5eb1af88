"""Ridge regression onto one-hot labels, for all penalties from one decomposition; numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class RidgeSolution(NamedTuple):
    """A linear map from F features to C scores.

    Attributes:
        weight: ``(C, F)``.
        bias: ``(C,)``, not penalised.
        penalty: that it was solved with, relative to the features' variance.
    """

    weight: Floats
    bias: Floats
    penalty: float


def solve_ridge(
    x: NDArray[np.floating], y: NDArray[np.integer], num_classes: int, penalties: Sequence[float]
) -> Iterator[RidgeSolution]:
    """Minimise ``|x w + b - onehot(y)|^2 + a |w|^2`` for each penalty, in the order given.

    The strength ``a`` is the penalty times N times the mean variance of a feature, so that one penalty means the same
    whatever the number of images and the scale of the features. With the eigenvalues ``e`` and eigenvectors of the
    smaller of the two Gram matrices of the centred features, each solution takes a division by ``e + a`` and a product
    (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd ed., sections 3.4.1 and 18.3.5).

    Args:
        x: features ``(N, F)``.
        y: labels ``(N,)``, from 0 to ``num_classes - 1``.
        num_classes: C.
        penalties: above 0.
    """
    x = np.asarray(x, dtype=np.float64)
    targets = np.eye(num_classes)[y]
    x_mean, target_mean = x.mean(axis=0), targets.mean(axis=0)
    x, targets = x - x_mean, targets - target_mean
    images, features = x.shape
    wide = images < features
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    # weight = left @ (right / (values + strength)): primal (x'x + a)^-1 x't, dual x' (xx' + a)^-1 t.
    left = x.T @ vectors if wide else vectors
    right = vectors.T @ (targets if wide else x.T @ targets)
    values = values.clip(min=0.0)  # rounding can leave them just below
    unit = max(float(x.var(axis=0, ddof=1).mean()), 1e-12) * images
    for penalty in penalties:
        weight = (left @ (right / (values + penalty * unit)[:, None])).T
        yield RidgeSolution(weight, target_mean - weight @ x_mean, penalty)
