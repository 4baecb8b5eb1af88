"""The remedy ``head``: solve the head in closed form, shrunk towards the present head."""

from __future__ import annotations

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.ridge import Ridge
from tbft.remedies.sample import Floats, Head, Ints, Sample, log_softmax, softmax

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Ridge penalties to try, in units of the mean variance of a feature times the number of images."""

SHRINKAGES = (0.0, 0.5, 1.0, 2.0)
"""Shares of the present head, scaled to one-hot labels, that the solution starts from: none, half, all, or twice."""

_SCALES = tuple(2.0**power for power in range(7))


class SolvedHead(Remedy):
    """Ridge regression of one-hot labels, starting from the present head.

    The logits of the present head are first scaled to one-hot labels, by a factor that uses no label, and the logits of
    the solution are scaled back for a softmax. Penalty and shrinkage are those with the least leave-one-out
    cross-entropy. Each single fit leaves the image out exactly; the choice of penalty and shrinkage sees all images.
    """

    name = "head"
    needs_labels = True
    changes = "head"

    def cost(self, size: Size) -> float:
        """Return the cost of one decomposition, and of one product for each penalty and shrinkage."""
        smaller, larger = sorted((size.images, size.features))
        grid = len(PENALTIES) * len(SHRINKAGES)
        return float(4 * larger * smaller**2 + 2 * grid * size.images * smaller * size.classes)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Solve the head on all images, and compute the logits of each image by the solution without it."""
        assert sample.labels is not None
        ridge = Ridge(sample.features, sample.labels, fit.whole.head.num_classes)
        best: tuple[float, float, float, float] | None = None
        for shrinkage in SHRINKAGES:
            start = shrunk(fit.whole.head, sample.features, shrinkage)
            for penalty in sorted(PENALTIES, reverse=True):  # of equally good ones, the strongest
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
    """Return a head scaled to one-hot labels, times a share; ``None`` for share 0.

    Args:
        head: the present head.
        features: features of the sample ``(N, F)``.
        shrinkage: share of the head.
    """
    factor = shrinkage * one_hot_factor(head.logits(features))
    return Head(factor * head.weight, factor * head.bias) if shrinkage else None


def one_hot_factor(logits: Floats) -> float:
    """Return the factor that brings logits ``(N, C)`` closest to their own class probabilities, up to offsets."""
    spread = logits - logits.mean(axis=0)
    size = float((spread**2).sum())
    return float((softmax(logits) * spread).sum()) / size if size > 0 else 0.0


def best_scale(logits: Floats, labels: Ints) -> tuple[float, float]:
    """Return the power of two that, times logits ``(N, C)``, gives the least cross-entropy; and that cross-entropy."""
    rows = np.arange(len(labels))
    scaled = np.multiply.outer(_SCALES, logits)
    losses = -log_softmax(scaled)[:, rows, labels].mean(axis=1)
    best = int(np.argmin(losses))
    return _SCALES[best], float(losses[best])
