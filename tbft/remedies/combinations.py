"""The combinations of remedies, in the order in which they are tried, and their fits to a sample."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.head import SolvedHead
from tbft.remedies.keep import Keep
from tbft.remedies.prior import Prior
from tbft.remedies.refresh import Refresh
from tbft.remedies.relabel import Merge, Relabel
from tbft.remedies.remedy import Fit, Remedy, Size
from tbft.remedies.sample import REFRESHED, SOURCE, Floats, Head, Ints, Sample, log_softmax

_SCALES = tuple(2.0 ** (power / 2) for power in range(-6, 3))

Chain = tuple[Remedy, ...]

KEEP, PRIOR, RELABEL, MERGE, REFRESH, HEAD = (
    Keep(),
    Prior(),
    Relabel(),
    Merge(),
    Refresh(),
    SolvedHead(),
)

COMBINATIONS: tuple[Chain, ...] = (
    (KEEP,),
    (PRIOR,),
    (RELABEL,),
    (REFRESH,),
    (RELABEL, PRIOR),
    (REFRESH, PRIOR),
    (REFRESH, RELABEL),
    (REFRESH, RELABEL, PRIOR),
    (MERGE,),
    (REFRESH, MERGE),
    (HEAD,),
    (REFRESH, HEAD),
    (RELABEL, HEAD),
    (REFRESH, RELABEL, HEAD),
    (MERGE, HEAD),
    (REFRESH, MERGE, HEAD),
)
"""All combinations, by the number of fitted parameters: the base model, with none, first, and solved heads last."""


@dataclass(frozen=True)
class Candidate:
    """One combination of remedies, fitted to a sample.

    Attributes:
        remedies: names of the remedies in the order applied.
        statistics: state of the BatchNorm statistics, ``source`` or ``refreshed``.
        fit: fitted head and held-out logits.
        cost: estimated multiply-adds beyond the forward pass of the sample.
        cpu_seconds: CPU-seconds of fitting it, without those of the combinations that it builds on.
    """

    remedies: tuple[str, ...]
    statistics: str
    fit: Fit
    cost: float
    cpu_seconds: float = field(default=0.0, compare=False)

    @property
    def names_without_keep(self) -> tuple[str, ...]:
        """Names of the remedies but ``keep``, which changes nothing."""
        return tuple(name for name in self.remedies if name != "keep")

    def scores(self, labels: Ints) -> Floats:
        """Return the held-out log-likelihood of each label ``(N,)``, at the logit scale with the highest mean."""
        rows = np.arange(len(labels))
        tried = [log_softmax(scale * self.fit.logits)[rows, labels] for scale in _SCALES]
        return max(tried, key=lambda scores: float(scores.mean()))


def candidates(
    samples: Mapping[str, Sample], head: Head, card: SourceCard, forward: float = 0.0
) -> Iterator[Candidate]:
    """Yield the combinations that a sample allows, fitted; common beginnings are fitted once.

    Args:
        samples: sample by state of the statistics: ``source`` and, if it was computed, ``refreshed``.
        head: head of the base model.
        card: source card of the base model.
        forward: multiply-adds of one image's forward pass, for the costs.
    """
    fits: dict[tuple[str, ...], Fit] = {(): Fit.unchanged(head, card, samples[SOURCE])}
    for chain in COMBINATIONS:
        statistics = REFRESHED if REFRESH in chain else SOURCE
        if statistics not in samples:
            continue
        sample = samples[statistics]
        if sample.labels is None and any(remedy.needs_labels for remedy in chain):
            continue
        began = time.process_time()
        size = Size(len(sample), sample.features.shape[1], sample.num_classes, forward)
        names: tuple[str, ...] = ()
        for remedy in chain:
            before, names = fits[names], (*names, remedy.name)
            if names not in fits:
                fits[names] = remedy.apply(before, sample, card)
        cost = sum(remedy.cost(size) for remedy in chain)
        yield Candidate(names, statistics, fits[names], cost, time.process_time() - began)
