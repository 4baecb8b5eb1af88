"""The remedy ``prior``: adapt the head to other class frequencies than in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Adapted, Fit, Remedy, Size
from tbft.remedies.sample import Floats, Head, Ints, Sample, softmax

_ROUNDS = 100


class Prior(Remedy):
    """Adds log(new prior / old prior) of each class to its logit.

    This is optimal if only the class priors changed and the probabilities were calibrated (Saerens et al. 2002, Neural
    Computation 14). The prior of the sample is counted from its labels or, without labels, found from the predicted
    probabilities by expectation maximisation (ibid.; after calibration as Alexandari et al. 2020, arXiv:1901.06852,
    advise). In both cases the source's prior counts as ``strength`` additional images per class.

    Args:
        strength: weight of the source's prior, in images per class on average.
    """

    name = "prior"
    needs_labels = False
    changes = "bias"

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def cost(self, size: Size) -> float:
        """Return the cost of a hundred passes over the logits, the most that expectation maximisation takes."""
        return float(_ROUNDS * size.images * size.classes)

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Shift the bias; the held-out fit of an image uses the class counts without its label."""
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
    """Return class shares ``(C,)`` of counts to which a prior adds ``strength`` images per class on average.

    Args:
        counts: count of each class ``(C,)``.
        prior: share of each class ``(C,)``.
        strength: weight of the prior, in images per class on average.
    """
    pseudo = strength * len(prior)
    shares: Floats = (counts + pseudo * prior) / (counts.sum() + pseudo)
    return shares


def shifted(adapted: Adapted, prior: Floats, temperature: float = 1.0) -> Adapted:
    """Return a head shifted from its own prior to another one; classes with prior 0 keep their bias.

    Args:
        adapted: head and its prior.
        prior: new share of each class ``(C,)``.
        temperature: divisor that calibrates the head's logits.
    """
    known = adapted.prior > 0
    shift = np.zeros(len(prior))
    shift[known] = np.log(np.maximum(prior[known], 1e-6) / adapted.prior[known])
    return Adapted(Head(adapted.head.weight, adapted.head.bias + temperature * shift), prior)


def find_prior(logits: Floats, prior: Floats, strength: float) -> Floats:
    """Return the class prior ``(C,)`` of unlabelled images (Saerens et al. 2002, equation 2.9, with pseudo-counts).

    Args:
        logits: calibrated logits ``(N, C)`` of a model trained under ``prior``.
        prior: share of each class ``(C,)`` in training.
        strength: weight of ``prior``, in images per class on average.
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
