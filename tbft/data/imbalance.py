"""A changed class prior: the classes come in other shares, the pictures and what their labels mean stay."""

from __future__ import annotations

import numpy as np

from tbft.data.splits import Indices


def long_tail(labels: Indices, num_classes: int, imbalance: float, seed: int) -> Indices:
    """Choose pictures so that the shares of the classes fall exponentially (Cui et al. 2019, arXiv:1901.05555).

    Args:
        labels: class of each picture ``(N,)``.
        num_classes: C.
        imbalance: how many times rarer the last class becomes than the first, of which all pictures stay.
        seed: draws the pictures of each class.

    Returns:
        Positions of the chosen pictures, sorted; of each class that has pictures at least one.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(num_classes):
        mine = np.flatnonzero(labels == label)
        share = imbalance ** (-label / max(num_classes - 1, 1))
        chosen.append(rng.permutation(mine)[: max(round(share * len(mine)), 1)])
    return np.sort(np.concatenate(chosen))
