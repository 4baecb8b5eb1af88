"""Find the levels that drifted, by comparing the combinations of remedies that were tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice
from tbft.remedies.combinations import Candidate
from tbft.remedies.evidence import (
    Gain,
    Interval,
    clopper_pearson,
    counts_differ,
    fewer_than,
    likelihood_gain,
    paired_gain,
)
from tbft.remedies.label_free import MODEL_ERROR, claims_to_be_right
from tbft.remedies.sample import REFRESHED, SOURCE, Bools, Ints, Sample, correct

Level = Literal["input", "feature", "output", "prior", "labels"]

LEVEL = 0.05
"""Level of the test of a finding, in a sample that counts as drifted."""

STRICT_LEVEL = 0.01
"""Level of the test for other class shares, for labels in doubt, and for a feature drift without a source card."""

PART = 0.2
"""Least part of the lost accuracy that refreshed statistics must bring back for ``input`` to be named."""

LEAST_GAIN = 0.03
"""Least accuracy that refreshed statistics must gain for more likely labels to count as evidence too. With 100 images,
likelihoods show more than counts do, as under glass_blur and zoom_blur; without drift they rise a little as well."""

RELABELLED = 0.3
"""Least part of the lost accuracy that a label map must bring back for ``output`` to be named. It is larger because a
label map fits a sample more easily."""

DEFICIT = 0.2
"""Least accuracy below the source's, after statistics, label map and prior, at which ``feature`` is named. Refreshed
statistics left 0.06 to 0.10 on the corruptions on which it was set, and 0.29 on the sub-populations. Without a source
card a solved head must gain half of it."""

DOUBT = 0.1
"""Least amount by which the accuracy that the model's confidence claims must exceed its accuracy on the labels, for the
labels to be in doubt. Half of the difference between the source's accuracy and the claimed one is added, because a
claim is less reliable the more confidence is lost."""

_MAPS: tuple[tuple[str, ...], ...] = (("relabel",), ("merge",))


@dataclass(frozen=True)
class Finding:
    """The evidence for a drift at one level.

    Attributes:
        level: ``input``, ``feature``, ``output`` or ``prior``; ``labels`` means that the labels contradict confident
            answers of the model.
        found: whether the evidence suffices to name the level.
        statistic: what was compared, in words.
        p: p-value of the test.
        effect: size of the effect in accuracy (in shares of the images for ``prior``), with its 95 % interval.
    """

    level: Level
    found: bool
    statistic: str
    p: float
    effect: Interval


def find_levels(choice: Choice, samples: Mapping[str, Sample], card: SourceCard) -> tuple[Finding, ...]:
    """Return the evidence for each level in a labelled sample.

    ``input`` and ``output`` are found only if their remedy, refreshed statistics or a label map, brings back a part of
    the lost accuracy. Accuracy that neither they nor the prior bring back is put down to ``feature`` if the model has
    lost confidence or a solved head brings it back, and otherwise to doubtful ``labels``.

    Args:
        choice: remedies chosen for this sample; without drift, or with verdict ``cannot tell``, nothing is found.
        samples: sample by state of the statistics.
        card: source card; without its accuracy ``feature`` is judged by the solved head alone.
    """
    labels = samples[SOURCE].labels
    assert labels is not None
    evidence = _Evidence(choice, labels)
    goal = card.accuracy if card.accuracy is not None else evidence.best
    refreshed = evidence.best_statistics(goal)
    statistics = ("refresh",) if refreshed.found else ()
    output, mapped = evidence.best_map(goal, statistics)
    prior, weighted = evidence.prior(mapped)
    findings = [refreshed, output, prior]
    findings += evidence.rest(weighted, goal, samples[REFRESHED if statistics else SOURCE], card)
    drifted = choice.drifted and choice.verdict != "cannot tell"
    return tuple(finding if drifted else replace(finding, found=False) for finding in findings)


class _Evidence:
    """The combinations by their names, and whether each is right on each image.

    Args:
        choice: remedies chosen for the sample, with all that were tried.
        labels: labels of the sample ``(N,)``.
    """

    def __init__(self, choice: Choice, labels: Ints) -> None:
        self.tried: dict[tuple[str, ...], Candidate] = {c.names_without_keep: c for c in choice.tried}
        self.labels = labels
        self.hits: dict[tuple[str, ...], Bools] = {n: correct(c.fit.logits, labels) for n, c in self.tried.items()}
        self.best = max(float(hits.mean()) for hits in self.hits.values())

    def best_statistics(self, goal: float) -> Finding:
        """Test whether refreshed statistics bring accuracy back.

        Each state of the statistics has the class prior or the label map that suits it best. A label map under the
        source's statistics counts only if it gets more images right than refreshed statistics do without one; otherwise
        it is fitted to what the sensor has changed.

        Args:
            goal: accuracy without drift.
        """
        if ("refresh",) not in self.tried:
            return Finding("input", False, "no refreshed statistics at hand", 1.0, Interval(0.0, 0.0, 0.0))
        shares = ((), ("prior",)) if self._shares_differ(()) <= STRICT_LEVEL else ((),)
        plain, fresh, mapped = self._best(shares), self._best(shares, ("refresh",)), self._best(_MAPS)
        if self._accuracy(mapped) > self._accuracy(fresh):
            plain = self._best((plain, mapped))
        fresh = self._best((*shares, *_MAPS), ("refresh",))
        gain = paired_gain(self.hits[plain], self.hits[fresh])
        if gain.interval.value >= LEAST_GAIN:
            gain = replace(gain, p=min(gain.p, self._likelier(fresh, plain)))
        found = self._brings_back(gain, goal, self._accuracy(plain), PART)
        return Finding("input", found, "refreshed statistics against the source's", gain.p, gain.interval)

    def best_map(self, goal: float, statistics: tuple[str, ...]) -> tuple[Finding, tuple[str, ...]]:
        """Test whether a label map brings accuracy back that other class shares alone do not explain.

        Args:
            goal: accuracy without drift.
            statistics: names of the remedies for the statistics.

        Returns:
            The finding, and the names of the remedies to go on with.
        """
        prior = (*statistics, "prior")
        likelier = [names for names in _MAPS if self._likelier((*statistics, *names), prior) <= LEVEL]
        best = self._best(likelier or _MAPS, statistics)
        gain = paired_gain(self.hits[statistics], self.hits[best])
        found = bool(likelier) and self._brings_back(gain, goal, self._accuracy(statistics), RELABELLED)
        finding = Finding("output", found, "a label map against none", gain.p, gain.interval)
        return finding, best if found else statistics

    def prior(self, mapped: tuple[str, ...]) -> tuple[Finding, tuple[str, ...]]:
        """Test whether class shares differ from the source's under the label map.

        Args:
            mapped: names of the remedies for statistics and label map.

        Returns:
            The finding, and the names of the remedies to go on with.
        """
        expected = self.tried[mapped].fit.whole.prior
        counts = np.bincount(self.labels, minlength=len(expected))
        p = self._shares_differ(mapped)
        furthest = int(np.abs(counts / counts.sum() - expected).argmax())
        share = clopper_pearson(int(counts[furthest]), len(self.labels))
        moved = Interval(*(value - float(expected[furthest]) for value in (share.value, share.low, share.high)))
        found = p <= STRICT_LEVEL
        named = f"share of class {furthest} against the source's"
        weighted = (*mapped, "prior")
        return Finding("prior", found, named, p, moved), weighted if found and weighted in self.hits else mapped

    def rest(self, names: tuple[str, ...], goal: float, sample: Sample, card: SourceCard) -> list[Finding]:
        """Put the accuracy that is still lost down to the features, or to labels that contradict the model.

        Args:
            names: names of the remedies for statistics, label map and prior.
            goal: accuracy without drift.
            sample: sample under the chosen statistics.
            card: source card of the base model.
        """
        right, images = int(self.hits[names].sum()), len(self.labels)
        accuracy = clopper_pearson(right, images)
        solved = max((n for n in self.hits if n and n[-1] == "head"), key=self._accuracy)
        gain = paired_gain(self.hits[names], self.hits[solved])
        if card.accuracy is None:
            found = gain.p <= STRICT_LEVEL and gain.interval.value >= DEFICIT / 2
            return [Finding("feature", found, "a solved head against the present one", gain.p, gain.interval)]
        lost = accuracy.below(goal)
        p = fewer_than(right, images, goal, card.images)
        deficit = p <= LEVEL and lost.value >= DEFICIT
        told = "accuracy that is still below the source's"
        if card.confidences is None:
            return [Finding("feature", deficit, told, p, lost)]
        claims = claims_to_be_right(sample, card)
        claimed, over = float(claims.mean()), paired_gain(self.hits[names], claims)
        doubted = (
            over.p <= STRICT_LEVEL
            and over.interval.low > MODEL_ERROR
            and over.interval.value >= DOUBT + max(0.0, goal - claimed) / 2
            and gain.interval.value < over.interval.value / 2
        )
        return [
            Finding("feature", deficit and not doubted, told, p, lost),
            Finding("labels", doubted, "accuracy below what confidence claims", over.p, over.interval),
        ]

    def _shares_differ(self, mapped: tuple[str, ...]) -> float:
        """P-value of the class shares under the source's, carried over by a label map."""
        expected = self.tried[mapped].fit.whole.prior
        return counts_differ(np.bincount(self.labels, minlength=len(expected)), expected)

    def _best(self, options: Iterable[tuple[str, ...]], statistics: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The combination with most images right, of equals the first."""
        return max(((*statistics, *names) for names in options), key=self._accuracy)

    def _likelier(self, names: tuple[str, ...], others: tuple[str, ...]) -> float:
        """P-value of the labels being more likely under one combination than under another one."""
        scores = [self.tried[each].scores(self.labels) for each in (names, others)]
        return likelihood_gain(scores[0] - scores[1])

    def _accuracy(self, names: tuple[str, ...]) -> float:
        return float(self.hits[names].mean())

    @staticmethod
    def _brings_back(gain: Gain, goal: float, before: float, part: float) -> bool:
        return gain.p <= LEVEL and gain.interval.value >= part * (goal - before)
