"""Which levels drifted, told from the combinations that were tried."""

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
    largest_gains,
    paired_gain,
)
from tbft.remedies.label_free import MODEL_ERROR, claims_to_be_right
from tbft.remedies.sample import REFRESHED, SOURCE, Bools, Ints, Sample, correct

Level = Literal["input", "feature", "output", "prior", "labels"]

LEVEL = 0.05
"""Level of the test of each finding, in a sample that counts as drifted."""

STRICT_LEVEL = 0.01
"""The same for what no remedy has to prove by a gain: other class shares, and labels in doubt."""

PART = 0.2
"""Part of the lost accuracy that a remedy has to bring back for its level to be named."""

LEAST_GAIN = 0.03
"""Accuracy that refreshed statistics have to gain for likelier labels to be evidence too. These tell more of 100 images
than counting them does, as under glass_blur and zoom_blur; without drift they are a little likelier as well."""

RELABELLED = 0.3
"""Part of the lost accuracy that a label map has to bring back, which a sample can be fitted with more easily."""

DEFICIT = 0.2
"""Accuracy below the source's, after statistics, label map and prior, from which on a feature drift is named. Refreshed
statistics left 0.06 to 0.10 on the corruptions it was set on, and 0.29 on the sub-populations."""

DOUBT = 0.1
"""Accuracy on the labels below what the model's confidence claims from which on the labels are in doubt; half of the
confidence that was lost comes on top, for a claim is worth less the more of it is lost."""

_DRAWS = 999

_MAPS: tuple[tuple[str, ...], ...] = (("relabel",), ("merge",))


@dataclass(frozen=True)
class Finding:
    """What speaks for a drift at one level.

    Attributes:
        level: ``input``, ``feature``, ``output``, ``prior``; ``labels`` says that the labels contradict themselves.
        found: whether it counts.
        statistic: what was tested.
        p: one-sided.
        effect: in accuracy (or shares of images, for ``prior``), with its 95 % interval.
    """

    level: Level
    found: bool
    statistic: str
    p: float
    effect: Interval


def find_levels(choice: Choice, samples: Mapping[str, Sample], card: SourceCard) -> tuple[Finding, ...]:
    """The levels at which a labelled sample drifted, with the evidence for each.

    A level is named only where its remedy brings back a part of what was lost: refreshed statistics for ``input``, a
    label map for ``output``. What neither they nor the prior bring back is ``feature``, if the model has lost
    confidence or a solved head brings it back; otherwise the labels are in doubt.

    Args:
        choice: of this sample; nothing is found where it cannot tell, or found no drift.
        samples: by state of the statistics.
        card: what is known of the source; without its accuracy ``feature`` is judged by the solved head alone.
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
    """The combinations by name, and whether each is right on each image."""

    def __init__(self, choice: Choice, labels: Ints) -> None:
        self.tried: dict[tuple[str, ...], Candidate] = {c.names_without_keep: c for c in choice.tried}
        self.labels = labels
        self.hits: dict[tuple[str, ...], Bools] = {n: correct(c.fit.logits, labels) for n, c in self.tried.items()}
        self.best = max(float(hits.mean()) for hits in self.hits.values())

    def best_statistics(self, goal: float) -> Finding:
        """Whether refreshed statistics bring accuracy back.

        Both sides may have the label map that suits them, but for a map of the source's statistics that gets no more
        images right than refreshed statistics do without one: it is then fitted to what the sensor has changed.
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
        """Whether a label map brings accuracy back, and other class shares alone do not explain the labels as well."""
        prior = (*statistics, "prior")
        likelier = [names for names in _MAPS if self._likelier((*statistics, *names), prior) <= LEVEL]
        best = self._best(likelier or _MAPS, statistics)
        gain = paired_gain(self.hits[statistics], self.hits[best])
        found = bool(likelier) and self._brings_back(gain, goal, self._accuracy(statistics), RELABELLED)
        finding = Finding("output", found, "a label map against none", gain.p, gain.interval)
        return finding, best if found else statistics

    def prior(self, mapped: tuple[str, ...]) -> tuple[Finding, tuple[str, ...]]:
        """Whether class shares differ from the source's under the label map."""
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
        """What is still lost: to the features, or to labels that contradict themselves."""
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
        return float(largest_gains((scores[0] - scores[1])[None], _DRAWS)[0])

    def _accuracy(self, names: tuple[str, ...]) -> float:
        return float(self.hits[names].mean())

    @staticmethod
    def _brings_back(gain: Gain, goal: float, before: float, part: float) -> bool:
        return gain.p <= LEVEL and gain.interval.value >= part * (goal - before)
