"""Label noise: a share of the labels is wrong."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tbft.errors import BadInput


def wrong_labels(labels: Tensor, num_classes: int, share: float, seed: int) -> Tensor:
    """Replace a share of the labels, each by one of the other classes with equal probability (symmetric label noise).

    Args:
        labels: class index of each image ``(N,)``.
        num_classes: number of classes, at least 2.
        share: share of the labels that become wrong, rounded to whole images.
        seed: seed that draws the images and their new labels.

    Returns:
        New class indices ``(N,)``, int64.

    Raises:
        BadInput: if there is no other class.
    """
    if num_classes < 2:
        raise BadInput("data.label_noise makes labels wrong and there is one class alone: leave it out")
    rng = np.random.default_rng(seed)
    hit = torch.from_numpy(rng.permutation(len(labels))[: round(share * len(labels))])
    noisy = labels.clone()
    noisy[hit] = (labels[hit] + torch.from_numpy(rng.integers(1, num_classes, len(hit)))) % num_classes
    return noisy
