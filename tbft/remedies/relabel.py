"""Label map: the classes are the same, and what they are called has changed."""

from __future__ import annotations

import numpy as np

from tbft.remedies.assignment import Assignment
from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.sample import Floats, Head, Ints, Sample, softmax

UNUSED = -1e4
"""Logit of a label that the map gives to no class."""


class Relabel(Remedy):
    """Give the base model's classes the labels that the sample pairs them with.

    Each image votes for its label with the base model's probability of each class, and the map is the one-to-one
    assignment with most votes. Every class has some votes for keeping its label, which decide where the sample says
    nothing. The map becomes an order of the head's rows.

    Args:
        strength: votes of each class for keeping its label.
    """

    name = "relabel"
    needs_labels = True
    changes = "head"

    def __init__(self, strength: float = 0.5) -> None:
        self.strength = strength

    def cost(self, size: Size) -> float:
        """One augmenting path for each image."""
        return float(size.images * size.classes**2)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Put the rows in the order of the map, for each image by the votes without its own.

        It comes before whatever else learns from labels: ``fit`` has seen none.
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
        """The map from all images, and the map without each image.

        Args:
            votes: probability of each class ``(N, C)``.
            labels: ``(N,)``.

        Returns:
            New label of each class ``(C,)``; and for each image ``(N, C)``.
        """
        best = Assignment(-self._table(votes, labels))
        without = np.empty(votes.shape, np.int64)
        for i, label in enumerate(labels):
            without[i] = np.argsort(best.changed(int(label), votes[i]))
        return np.argsort(best.row_of), without

    def _table(self, votes: Floats, labels: Ints) -> Floats:
        """Votes of each class for each label ``(C, C)``."""
        table = self.strength * np.eye(votes.shape[1])
        np.add.at(table.T, labels, votes)
        return table


class Merge(Relabel):
    """Give classes their labels where several may have one: to each class the label with most votes.

    Of classes that share a label the head gets the mean row; a label without a class is never predicted.
    """

    name = "merge"

    def maps(self, votes: Floats, labels: Ints) -> tuple[Ints, Ints]:
        """See ``Relabel.maps``."""
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
    """A head whose rows are called by their new labels.

    Args:
        adapted: the head as it is.
        new_label: of each class ``(C,)``.
    """
    head, classes = adapted.head, len(new_label)
    share = np.zeros((classes, classes))  # labels by classes
    share[new_label, np.arange(classes)] = 1.0
    prior = share @ adapted.prior
    used = share.sum(axis=1)
    share /= np.maximum(used, 1.0)[:, None]
    bias = np.where(used > 0, share @ head.bias + np.log(np.maximum(used, 1.0)), UNUSED)
    return Adapted(Head(share @ head.weight, bias), prior)
