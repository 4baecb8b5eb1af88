"""Drift of the class prior: classes appear in other shares, but pictures and the meaning of labels do not change."""

from __future__ import annotations

import numpy as np

from tbft.data.splits import Indices


def long_tail(labels: Indices, num_classes: int, imbalance: float, seed: int) -> Indices:
    """Choose pictures so that the shares of the classes fall exponentially (Cui et al. 2019, arXiv:1901.05555).

    Args:
        labels: class index of each picture ``(N,)``.
        num_classes: number of classes.
        imbalance: how many times smaller the kept share of the last class is than that of the first, which is 1.
        seed: seed that draws the pictures of each class.

    Returns:
        Positions of the chosen pictures, sorted; at least one of each class that has pictures.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(num_classes):
        mine = np.flatnonzero(labels == label)
        share = imbalance ** (-label / max(num_classes - 1, 1))
        chosen.append(rng.permutation(mine)[: max(round(share * len(mine)), 1)])
    return np.sort(np.concatenate(chosen))
