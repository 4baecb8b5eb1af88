"""The head in closed form, on a device: ridge regression, chosen on validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tbft.device.training import score
from tbft.ridge import solve_ridge

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)
"""From the strongest: of equally good ones it stays."""

_SCALES = tuple(2.0**power for power in range(7))

Features = tuple[NDArray[np.float32], NDArray[np.int64]]


def solve_head(
    train: Features, validation: Features, num_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight ``(C, F)`` and bias ``(C,)`` of the head that is most accurate on the validation images.

    The logits get the scale with the lowest cross-entropy, so that a softmax of them is a probability.

    Args:
        train: features ``(N, F)`` and labels ``(N,)``.
        validation: likewise.
        num_classes: C.
    """
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for solution in solve_ridge(train[0], train[1], num_classes, PENALTIES):
        logits = validation[0] @ solution.weight.T + solution.bias
        accuracy = float((logits.argmax(axis=1) == validation[1]).mean())
        if best is None or accuracy > best[0]:
            best = accuracy, solution.weight, solution.bias
    assert best is not None
    _, weight, bias = best
    logits = (validation[0] @ weight.T + bias).astype(np.float32)
    scale = min(_SCALES, key=lambda factor: score(factor * logits, validation[1])[0])
    return (scale * weight).astype(np.float32), (scale * bias).astype(np.float32)
