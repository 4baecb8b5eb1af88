"""Which remedies a sample calls for: every combination tried, each kept only on evidence.

The evidence is asked for twice. That anything drifted has to be certain, corrected for everything that was tried, for
a model that is right must not be touched. Which remedy then is best is a choice among a few that were meant for this,
and waiting for certainty at each step would cost more accuracy than a wrong step does.
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
    largest_gains,
    paired_gain,
)
from tbft.remedies.label_free import choose_unlabelled
from tbft.remedies.sample import SOURCE, Bools, Head, Ints, Sample, correct
from tbft.remedies.signs import labelled_signs

DRIFT_LEVEL = 0.02
"""Level, corrected for the number of tests, at which a sample counts as drifted; without drift nothing changes."""

STEP_LEVEL = 0.1
"""Level of each step against what stands, once the sample counts as drifted."""

CHANCE_LEVEL = 0.01
"""Level at which what is left to stand has to agree with the labels better than the most frequent label does."""

LEAST_AGREEMENT = 0.2
"""Part of the way from the most frequent label's accuracy to 1 that it has to go: labels that are all wrong exclude a
class and so tell a little, which is no reason to follow them."""

MORE_LABELS = 10
"""Times as many labels as there are that it may take to tell, for a sample to be called undecided."""

_LEVELS = {"prior": DRIFT_LEVEL, "merge": DRIFT_LEVEL}
"""Stricter levels: fitted to few images of a class, these two do harm where they are not called for."""

_STEP_DRAWS = 999


def choose(
    samples: Mapping[str, Sample],
    head: Head,
    card: SourceCard | None = None,
    *,
    forward: float = 0.0,
    level: float = DRIFT_LEVEL,
) -> Choice:
    """Climb the remedies that need no gradient.

    First the sample has to show that something drifted: a lower accuracy than the source's, other class shares,
    lower confidence, or a combination that gains more than chance, corrected for the number of tests (Holm). Without
    that the base model stays. Then each combination, from the least that is fitted to the most, takes the place of
    what stands if the labels are more likely under it, each image judged by a fit that did not see its label. Without
    labels see ``choose_unlabelled``.

    Args:
        samples: the sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: of the base model.
        card: what is known of the source; less is told without one.
        forward: multiply-adds of one image's forward pass, for the costs.
        level: corrected for the number of tests, at which the sample counts as drifted.

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
            f"which about {needed} labels would tell",
            labels_needed=needed,
        )
    return replace(
        told,
        verdict="keep",
        reason="no remedy gains on what stands" if drifted else "nothing in the sample shows drift",
    )


def check_head_fits(samples: Mapping[str, Sample], head: Head) -> None:
    """Refuse a sample that is not of the head's network.

    Raises:
        BadInput: naming the statistics and the shapes.
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
    """Let each combination take the place of what stands, if the evidence says so.

    Args:
        tried: the combinations in order, the base model first.
        hits: whether each of them is right on each image.
        labels: ``(N,)``.
        drifted: whether anything but the base model may stand at the end.

    Returns:
        A step for each combination, and the position of the one that stands at the end.
    """
    scores = [candidate.scores(labels) for candidate in tried]
    steps, standing = [], 0
    for i, candidate in enumerate(tried):
        gain, p, accepted, reason = None, 1.0, i == 0, "the base model"
        if i:
            gain = paired_gain(hits[standing], hits[i])
            differences = scores[i] - scores[standing]
            p = float(largest_gains(differences[None], _STEP_DRAWS)[0])
            if candidate.remedies == (*tried[standing].names_without_keep, "prior"):
                # The optimal answer to a changed prior: what has to be shown is the change, and that it does no harm.
                p = shares_differ(tried, tried[standing], labels) if differences.mean() > 0 else 1.0
            accepted, reason = _judge(candidate, gain, p, drifted)
        accuracy = clopper_pearson(int(hits[i].sum()), len(labels))
        told = candidate.remedies, candidate.statistics, accuracy, gain, p, candidate.cost, accepted, reason
        steps.append(Step(*told, candidate.fit.detail, candidate.cpu_seconds))
        standing = i if accepted else standing
    return tuple(steps), standing


def shares_differ(tried: tuple[Candidate, ...], candidate: Candidate, labels: Ints) -> float:
    """P-value of the sample's class shares under the source's, carried over by a combination's label map."""
    mapped = tuple(name for name in candidate.remedies if name not in ("prior", "head")) or ("keep",)
    (prior,) = (one.fit.whole.prior for one in tried if one.remedies == mapped)
    return counts_differ(np.bincount(labels, minlength=len(prior)), prior)


def _judge(candidate: Candidate, gain: Gain, p: float, drifted: bool) -> tuple[bool, str]:
    level = _LEVELS.get(candidate.remedies[-1], STEP_LEVEL)
    if not drifted:
        return False, "nothing in the sample shows drift"
    if gain.interval.value < 0:
        return False, f"{gain.worse - gain.better} images fewer are right than with what stands"
    if p > level:
        return False, f"the labels are not clearly more likely than with what stands (p = {p:.2g})"
    return True, f"the labels are more likely than with what stood (p = {p:.2g})"


def what_labels_lack(labels: Ints, num_classes: int) -> str | None:
    """Why labels can tell nothing; ``None`` if they can."""
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
    """Whether a combination that is right on so many images agrees with the labels more than chance explains."""
    frequent = int(np.bincount(labels).max()) / len(labels)
    agreement = (right / len(labels) - frequent) / (1 - frequent)
    return agreement >= LEAST_AGREEMENT and binomial_tail(right, len(labels), frequent) <= CHANCE_LEVEL
