"""Count of right predictions in one pass over labelled images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tbft.remedies.validated import Score


class Tally:
    """Collects losses, predictions and labels over the batches of one pass over labelled images."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: ``(N, C)``.
            labels: ``(N,)``.
        """
        self._losses.append(F.cross_entropy(logits, labels, reduction="sum"))
        self._predicted.append(logits.argmax(1))
        self._labels.append(labels)

    @property
    def predicted(self) -> Tensor:
        """Predicted classes of all images so far ``(N,)``, in their order."""
        return torch.cat(self._predicted)

    @property
    def labels(self) -> Tensor:
        """Labels of all images so far ``(N,)``, in their order."""
        return torch.cat(self._labels)

    def score(self) -> Score:
        """Return the score over all images added so far (at least one)."""
        right = (self.predicted == self.labels).cpu()
        return Score(sum(torch.stack(self._losses).tolist()) / len(right), right)
