"""Choose remedies for a sample: try every combination, and accept each only on evidence.

There are two thresholds. Drift itself must be certain, corrected for the number of tests, because a model that is right
must not change. The choice among remedies then has a lower threshold, because demanding certainty at each step would
cost more accuracy than a wrong step does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tbft.errors import BadInput
from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice, Step
from tbft.remedies.combinations import Candidate, candidates
from tbft.remedies.evidence import (
    Gain,
    binomial_tail,
    clopper_pearson,
    counts_differ,
    holm,
    labels_needed,
    likelihood_gain,
    paired_gain,
)
from tbft.remedies.label_free import choose_unlabelled
from tbft.remedies.sample import SOURCE, Bools, Head, Ints, Sample, correct
from tbft.remedies.signs import labelled_signs

DRIFT_LEVEL = 0.02
"""Level, corrected for the number of tests, at which a sample counts as drifted; otherwise the base model stays."""

STEP_LEVEL = 0.1
"""Level of the test of a combination against the one accepted before, in a sample that counts as drifted."""

CHANCE_LEVEL = 0.01
"""Level of the test that the chosen combination agrees with the labels better than the most frequent label does."""

LEAST_AGREEMENT = 0.2
"""Least agreement of the chosen combination with the labels, on a scale from 0 at the accuracy of the most frequent
label to 1. Labels that are all wrong agree a little better than chance, because each excludes a class; they must not be
followed."""

MORE_LABELS = 10
"""A sample is called undecided if at most this many times its labels would decide."""

_LEVELS = {"prior": DRIFT_LEVEL, "merge": DRIFT_LEVEL}
"""Stricter levels of single remedies: these two do harm where they are not needed, as they are fitted to few images of
a class."""


def choose(
    samples: Mapping[str, Sample],
    head: Head,
    card: SourceCard | None = None,
    *,
    forward: float = 0.0,
    level: float = DRIFT_LEVEL,
) -> Choice:
    """Choose among the remedies that need no gradient.

    First the sample must show drift: a lower accuracy than the source's, other class shares, lower confidence, or a
    combination that gains more than chance, corrected for the number of tests (Holm). Otherwise the base model stays.
    Then the combinations are tried in order, those with the fewest fitted parameters first. Each is accepted in place
    of the one before if the labels are more likely under it; each image is judged by a fit that did not see its label.
    A sample without labels goes to ``choose_unlabelled``.

    Args:
        samples: sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: head of the base model.
        card: source card of the base model; without one there are fewer tests of drift.
        forward: multiply-adds of one image's forward pass, for the costs.
        level: level, corrected for the number of tests, at which the sample counts as drifted.

    Raises:
        BadInput: if the head does not fit the sample.
    """
    card = card or SourceCard()
    source = samples[SOURCE]
    check_head_fits(samples, head)
    labels = source.labels
    if labels is None:
        return choose_unlabelled(samples, head, card, forward=forward)
    kept = Choice("cannot tell", "", ("keep",), SOURCE, head)
    if problem := what_labels_lack(labels, head.num_classes):
        return replace(kept, reason=problem)
    tried = tuple(candidates(samples, head, card, forward))
    hits = [correct(candidate.fit.logits, labels) for candidate in tried]
    signs = labelled_signs(source, labels, hits, card)
    drifted = min(holm([sign.p for sign in signs])) <= level
    steps, standing = climb(tried, hits, labels, drifted)
    base, chosen = tried[0], tried[standing]
    accuracy = clopper_pearson(int(hits[standing].sum()), len(labels))
    told = replace(kept, drifted=drifted, signs=signs, steps=steps, tried=tried, accuracy=accuracy)
    if drifted and not agrees_with(labels, int(hits[standing].sum())):
        return replace(
            told,
            reason="cannot tell: no combination agrees with the labels better than always the most frequent label "
            "would; check the labels, or collect more",
            accuracy=clopper_pearson(int(hits[0].sum()), len(labels)),
        )
    told = replace(told, left=card.left_above(accuracy))
    if chosen is not base:
        return replace(
            told,
            verdict="adapt",
            reason=f"{' + '.join(chosen.remedies)} explains the labels better than anything simpler",
            remedies=chosen.remedies,
            statistics=chosen.statistics,
            head=chosen.fit.whole.head,
        )
    best = max(range(len(tried)), key=lambda i: int(hits[i].sum()))
    gain = paired_gain(hits[0], hits[best])
    needed = labels_needed(gain.interval.value, (gain.better + gain.worse) / len(labels), level)
    if drifted and needed is not None and len(labels) < needed <= MORE_LABELS * len(labels):
        return replace(
            told,
            verdict="undecided",
            reason=f"{' + '.join(tried[best].remedies)} may gain {100 * gain.interval.value:.1f} points, "
            f"which about {needed} labels would show",
            labels_needed=needed,
        )
    return replace(
        told,
        verdict="keep",
        reason="no remedy is better than the base model" if drifted else "nothing in the sample shows drift",
    )


def check_head_fits(samples: Mapping[str, Sample], head: Head) -> None:
    """Refuse a sample whose shapes do not fit the head.

    Raises:
        BadInput: if numbers of features or classes differ; the message names statistics and shapes.
    """
    classes, features = head.weight.shape
    for statistics, sample in samples.items():
        if (sample.num_classes, sample.features.shape[1]) != (classes, features):
            raise BadInput(
                f"the sample under {statistics} statistics has {sample.features.shape[1]} features and "
                f"{sample.num_classes} classes, the head {features} and {classes}: give those of one model"
            )


def climb(
    tried: tuple[Candidate, ...], hits: Sequence[Bools], labels: Ints, drifted: bool
) -> tuple[tuple[Step, ...], int]:
    """Try the combinations in order, and accept each in place of the one before if the evidence is for it.

    Args:
        tried: fitted combinations in order, the base model first.
        hits: for each combination, whether each image is right ``(N,)``.
        labels: labels of the sample ``(N,)``.
        drifted: whether the sample drifted; if not, only the base model is accepted.

    Returns:
        A step for each combination, and the position of the one accepted last.
    """
    scores = [candidate.scores(labels) for candidate in tried]
    steps, standing = [], 0
    for i, candidate in enumerate(tried):
        gain, p, accepted, reason = None, 1.0, i == 0, "the base model"
        if i:
            gain = paired_gain(hits[standing], hits[i])
            differences = scores[i] - scores[standing]
            p = likelihood_gain(differences)
            if candidate.remedies == (*tried[standing].names_without_keep, "prior"):
                # The remedy is optimal if the prior changed, so the test is of that change; it must not lose either.
                p = shares_differ(tried, tried[standing], labels) if differences.mean() > 0 else 1.0
            accepted, reason = _judge(candidate, gain, p, drifted)
        accuracy = clopper_pearson(int(hits[i].sum()), len(labels))
        told = candidate.remedies, candidate.statistics, accuracy, gain, p, candidate.cost, accepted, reason
        steps.append(Step(*told, candidate.fit.detail, candidate.cpu_seconds))
        standing = i if accepted else standing
    return tuple(steps), standing


def shares_differ(tried: tuple[Candidate, ...], candidate: Candidate, labels: Ints) -> float:
    """Return the p-value of the sample's class shares under the source's prior, mapped by a combination's label map.

    Args:
        tried: fitted combinations.
        candidate: combination whose label map is applied to the source's prior.
        labels: labels of the sample ``(N,)``.
    """
    mapped = tuple(name for name in candidate.remedies if name not in ("prior", "head")) or ("keep",)
    (prior,) = (one.fit.whole.prior for one in tried if one.remedies == mapped)
    return counts_differ(np.bincount(labels, minlength=len(prior)), prior)


def _judge(candidate: Candidate, gain: Gain, p: float, drifted: bool) -> tuple[bool, str]:
    level = _LEVELS.get(candidate.remedies[-1], STEP_LEVEL)
    if not drifted:
        return False, "nothing in the sample shows drift"
    if gain.interval.value < 0:
        return False, f"{gain.worse - gain.better} images fewer are right than with the best so far"
    if p > level:
        return False, f"the labels are not clearly more likely than with the best so far (p = {p:.2g})"
    return True, f"the labels are more likely than with the best so far (p = {p:.2g})"


def what_labels_lack(labels: Ints, num_classes: int) -> str | None:
    """Return why labels ``(N,)`` cannot be used to choose, such as a single class; ``None`` if they can."""
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        return (
            f"cannot tell: label {labels[wrong][0]} is none of this model's {num_classes} classes "
            f"(0 to {num_classes - 1}); correct the labels"
        )
    if len(np.unique(labels)) < 2:
        return f"cannot tell: all {len(labels)} labels are of class {labels[0]}; add images of other classes"
    if len(labels) < num_classes:
        return f"cannot tell: {len(labels)} labels are fewer than the {num_classes} classes; collect more"
    return None


def agrees_with(labels: Ints, right: int) -> bool:
    """Return whether a combination that is right on ``right`` images agrees with the labels better than chance."""
    frequent = int(np.bincount(labels).max()) / len(labels)
    agreement = (right / len(labels) - frequent) / (1 - frequent)
    return agreement >= LEAST_AGREEMENT and binomial_tail(right, len(labels), frequent) <= CHANCE_LEVEL
