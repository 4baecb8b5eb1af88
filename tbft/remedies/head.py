"""The head solved in closed form, shrunk towards the one that there is."""

from __future__ import annotations

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.ridge import Ridge
from tbft.remedies.sample import Floats, Head, Ints, Sample, log_softmax, softmax

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Relative to the mean variance of a feature summed over the images."""

SHRINKAGES = (0.0, 0.5, 1.0, 2.0)
"""How much of the present head the solution starts from: nothing, half, all, or twice what one-hot labels need."""

_SCALES = tuple(2.0**power for power in range(7))


class SolvedHead(Remedy):
    """Ridge regression onto one-hot labels, of what the present head leaves unexplained.

    Penalty and shrinkage are those with the least leave-one-out cross-entropy; each of them leaves images out exactly,
    the choice among them sees all. The logits of the present head are first brought to the scale of one-hot labels by a
    factor that no label has a part in, and the solution's logits are brought back to the scale of a softmax.
    """

    name = "head"
    needs_labels = True
    changes = "head"

    def cost(self, size: Size) -> float:
        """A decomposition, and a product for each penalty and shrinkage."""
        smaller, larger = sorted((size.images, size.features))
        grid = len(PENALTIES) * len(SHRINKAGES)
        return float(4 * larger * smaller**2 + 2 * grid * size.images * smaller * size.classes)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Solve, and for each image tell what the solution without it says."""
        assert sample.labels is not None
        ridge = Ridge(sample.features, sample.labels, fit.whole.head.num_classes)
        best: tuple[float, float, float, float] | None = None
        for shrinkage in SHRINKAGES:
            start = shrunk(fit.whole.head, sample.features, shrinkage)
            for penalty in sorted(PENALTIES, reverse=True):  # of equals the strongest
                logits = ridge.held_out(penalty, start)
                scale, loss = best_scale(logits, sample.labels)
                if best is None or loss < best[0]:
                    best = loss, penalty, shrinkage, scale
        assert best is not None
        _, penalty, shrinkage, scale = best
        logits = np.empty_like(sample.logits)
        for adapted, images in fit.held_out if shrinkage else fit.held_out[:1]:
            mine = images if shrinkage else slice(None)
            start = shrunk(adapted.head, sample.features, shrinkage)
            logits[mine] = scale * ridge.held_out(penalty, start)[mine]
        solved = ridge.solve(penalty, shrunk(fit.whole.head, sample.features, shrinkage))
        head = Head(scale * solved.weight, scale * solved.bias)
        prior = np.bincount(sample.labels, minlength=head.num_classes) / len(sample)
        return Fit(Adapted(head, prior), (), logits, f"penalty {penalty:g}, {shrinkage:g} of the head before")


def shrunk(head: Head, features: Floats, shrinkage: float) -> Head | None:
    """A share of a head, brought to the scale of one-hot labels; ``None`` is nothing of it."""
    factor = shrinkage * one_hot_factor(head.logits(features))
    return Head(factor * head.weight, factor * head.bias) if shrinkage else None


def one_hot_factor(logits: Floats) -> float:
    """The factor by which logits come closest to their own class probabilities, offsets left aside."""
    spread = logits - logits.mean(axis=0)
    size = float((spread**2).sum())
    return float((softmax(logits) * spread).sum()) / size if size > 0 else 0.0


def best_scale(logits: Floats, labels: Ints) -> tuple[float, float]:
    """The scale of the logits, a power of two, with the least cross-entropy; and that."""
    rows = np.arange(len(labels))
    scaled = np.multiply.outer(_SCALES, logits)
    losses = -log_softmax(scaled)[:, rows, labels].mean(axis=1)
    best = int(np.argmin(losses))
    return _SCALES[best], float(losses[best])
