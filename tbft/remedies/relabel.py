"""The remedies ``relabel`` and ``merge``: give the base model's classes new labels."""

from __future__ import annotations

import numpy as np

from tbft.remedies.assignment import Assignment
from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.sample import Floats, Head, Ints, Sample, softmax

UNUSED = -1e4
"""Bias of a label that no class is mapped to."""


class Relabel(Remedy):
    """Gives each class of the base model a new label, one to one, as the labels of the sample suggest.

    Each image adds the base model's probability of each class to the votes of that class for the image's label. The
    label map is the one-to-one assignment with most votes. Each class also has some votes for its old label, which
    decide where the sample has no evidence. The map reorders the rows of the head.

    Args:
        strength: votes of each class for its old label.
    """

    name = "relabel"
    needs_labels = True
    changes = "head"

    def __init__(self, strength: float = 0.5) -> None:
        self.strength = strength

    def cost(self, size: Size) -> float:
        """Return the cost of one augmenting path for each image."""
        return float(size.images * size.classes**2)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Reorder the rows of the head by the label map; the held-out fit of an image uses the votes without its own.

        It must come before other remedies that learn from labels: ``fit`` must have seen none.
        """
        assert sample.labels is not None and len(fit.held_out) == 1
        votes = softmax(fit.logits / card.temperature)
        whole, without = self.maps(votes, sample.labels)
        held_out = [
            (relabelled(fit.whole, new_label), np.flatnonzero((without == new_label).all(axis=1)))
            for new_label in np.unique(without, axis=0)
        ]
        return Fit.of(relabelled(fit.whole, whole), held_out, sample, "new labels " + " ".join(map(str, whole)))

    def maps(self, votes: Floats, labels: Ints) -> tuple[Ints, Ints]:
        """Return the label map from all images, and for each image the map without it.

        Args:
            votes: predicted probability of each class for each image ``(N, C)``.
            labels: label of each image ``(N,)``.

        Returns:
            New label of each class ``(C,)``, and the new labels without each image ``(N, C)``.
        """
        best = Assignment(-self._table(votes, labels))
        without = np.empty(votes.shape, np.int64)
        for i, label in enumerate(labels):
            without[i] = np.argsort(best.changed(int(label), votes[i]))
        return np.argsort(best.row_of), without

    def _table(self, votes: Floats, labels: Ints) -> Floats:
        """Return the votes of each class (row) for each label (column), ``(C, C)``."""
        table = self.strength * np.eye(votes.shape[1])
        np.add.at(table.T, labels, votes)
        return table


class Merge(Relabel):
    """Gives each class the label with most votes, so that several classes may share a label.

    A shared label gets the mean of its classes' rows in the head; a label without a class is never predicted.
    """

    name = "merge"

    def maps(self, votes: Floats, labels: Ints) -> tuple[Ints, Ints]:
        """Return the label maps as ``Relabel.maps`` does."""
        table = self._table(votes, labels)
        without = np.empty(votes.shape, np.int64)
        for label in np.unique(labels):
            images = np.flatnonzero(labels == label)
            rivals = table.copy()
            rivals[:, label] = -np.inf
            stays = table[:, label] - votes[images] >= rivals.max(axis=1)
            without[images] = np.where(stays, label, rivals.argmax(axis=1))
        return table.argmax(axis=1), without


def relabelled(adapted: Adapted, new_label: Ints) -> Adapted:
    """Return a head with a row for each new label, and its prior.

    Args:
        adapted: head before, and its prior.
        new_label: new label of each class ``(C,)``.
    """
    head, classes = adapted.head, len(new_label)
    share = np.zeros((classes, classes))  # labels by classes
    share[new_label, np.arange(classes)] = 1.0
    prior = share @ adapted.prior
    used = share.sum(axis=1)
    share /= np.maximum(used, 1.0)[:, None]
    bias = np.where(used > 0, share @ head.bias + np.log(np.maximum(used, 1.0)), UNUSED)
    return Adapted(Head(share @ head.weight, bias), prior)
