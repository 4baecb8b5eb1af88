"""Class prior: some classes are more frequent on the device than they were in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.sample import Floats, Head, Ints, Sample, softmax

_ROUNDS = 100


class Prior(Remedy):
    """Add the logarithm of how much more frequent a class has become to its logit.

    That is the optimal change if class priors alone changed and the probabilities were calibrated (Saerens et al.
    2002, Neural Computation 14). The prior of the sample is counted from its labels or, without labels, found from
    the predicted probabilities by expectation maximisation (ibid.; after calibration as Alexandari et al. 2020,
    arXiv:1901.06852, advise). Either way the source's prior counts as ``strength`` images more for each class.

    Args:
        strength: images for each class, on average, that the source's prior counts for.
    """

    name = "prior"
    needs_labels = False
    changes = "bias"

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def cost(self, size: Size) -> float:
        """A pass over the logits; expectation maximisation takes a hundred."""
        return float(_ROUNDS * size.images * size.classes)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Shift the bias, for each image by the counts without its label."""
        labels, classes = sample.labels, fit.whole.head.num_classes
        if labels is None:
            prior = find_prior(fit.logits / card.temperature, fit.whole.prior, self.strength)
            whole = shifted(fit.whole, prior, card.temperature)
            return Fit.of(whole, [(whole, np.arange(len(sample)))], sample, _told(prior))
        counts = np.bincount(labels, minlength=classes)
        whole = self._counted(fit.whole, counts, card.temperature)

        def held_out() -> Iterator[tuple[Adapted, Ints]]:
            for adapted, images in fit.held_out:
                for label in np.unique(labels[images]):
                    others = counts - (np.arange(classes) == label)
                    yield self._counted(adapted, others, card.temperature), images[labels[images] == label]

        return Fit.of(whole, held_out(), sample, _told(whole.prior))

    def _counted(self, adapted: Adapted, counts: Ints, temperature: float) -> Adapted:
        return shifted(adapted, smoothed(counts, adapted.prior, self.strength), temperature)


def smoothed(counts: Floats | Ints, prior: Floats, strength: float) -> Floats:
    """Shares of the classes where a prior counts as ``strength`` images for each class, on average."""
    pseudo = strength * len(prior)
    shares: Floats = (counts + pseudo * prior) / (counts.sum() + pseudo)
    return shares


def shifted(adapted: Adapted, prior: Floats, temperature: float = 1.0) -> Adapted:
    """A head brought from its prior to another one; a class that it never predicts stays so."""
    known = adapted.prior > 0
    shift = np.zeros(len(prior))
    shift[known] = np.log(np.maximum(prior[known], 1e-6) / adapted.prior[known])
    return Adapted(Head(adapted.head.weight, adapted.head.bias + temperature * shift), prior)


def find_prior(logits: Floats, prior: Floats, strength: float) -> Floats:
    """The class prior of unlabelled images (Saerens et al. 2002, equation 2.9, with pseudo-counts).

    Args:
        logits: calibrated, of a model trained under ``prior`` ``(N, C)``.
        prior: ``(C,)``.
        strength: see ``Prior``.
    """
    probabilities, found = softmax(logits), prior
    known = prior > 0
    for _ in range(_ROUNDS):
        weighted = probabilities[:, known] * (found[known] / prior[known])
        counts = np.zeros(len(prior))
        counts[known] = (weighted / weighted.sum(axis=1, keepdims=True)).sum(axis=0)
        before, found = found, smoothed(counts, prior, strength)
        if np.abs(found - before).max() < 1e-6:
            break
    return found


def _told(prior: Floats) -> str:
    return "class shares " + " ".join(f"{share:.3f}" for share in prior)
