"""Advice on a diagnosis, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tbft.diagnosis.findings import Finding
from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice
from tbft.remedies.evidence import Interval

LABELS_OF_EACH = 5
"""Labels per class from which on a label map was exact on development drifts, also with 30 % label noise."""

WORTH_MORE = 0.03
"""Least accuracy below the source's at which training a block or collecting labels is advised."""

UNSEEN = 0.05
"""Least possible loss of accuracy, by the end of its interval, that the advice mentions where no drift is seen."""

REMEDY_WORDS = {
    "keep": "nothing",
    "prior": "the head follows the class shares",
    "relabel": "outputs are renamed",
    "merge": "outputs are put together",
    "refresh": "statistics are refreshed",
    "head": "the head is solved",
}
"""Each remedy without gradients in a few words."""

OF_THE_CHOICE = ("use ", "keep the model", "training a block", "labels may pay")
"""Beginnings of advice that is out of date once a climb has ended, because the climb has done this or more."""


def advise(
    choice: Choice,
    findings: Sequence[Finding],
    accuracy: Interval | None,
    card: SourceCard,
    *,
    labels: NDArray[np.int64],
) -> list[str]:
    """Return advice on a labelled sample.

    Args:
        choice: remedies chosen for the sample.
        findings: evidence for each level.
        accuracy: accuracy of the base model on the sample.
        card: source card of the base model.
        labels: labels of the sample ``(N,)``.
    """
    advice: list[str] = []
    classes, images = choice.head.num_classes, len(labels)
    more = max(LABELS_OF_EACH * classes - images, LABELS_OF_EACH)
    if choice.verdict == "adapt":
        advice.append(_use(choice))
        advice += _forgotten(choice, labels)
    if choice.labels_needed:
        advice.append(f"collect {choice.labels_needed - images} more labels: {choice.reason}")
    if any(finding.found and finding.level == "labels" for finding in findings):
        advice.append("check the labels: many contradict answers of which the model is sure")
    if single := _held_by_single_images(choice):
        on = "a single image" if single == 1 else f"each of {single} single images"
        advice.append(f"collect {more} more labels: the label map hangs on {on}")
    if choice.verdict == "cannot tell":
        few = images < (LABELS_OF_EACH * classes if choice.tried else classes)
        told = f"{LABELS_OF_EACH} of each of {classes} classes tell label maps apart, and {images} labels do not"
        advice.append(
            f"collect {more} more labels: {told}" if few else "check the labels: as they are, they tell nothing"
        )
        return advice
    if choice.verdict == "keep" and choice.drifted:
        advice.append("keep the model: something has drifted, and no remedy without training gains on it")
    elif choice.verdict == "keep":
        advice.append(f"keep the model: no drift is seen{_what_may_hide(accuracy, card, images)}")
    if _is_worth_more(choice.left):
        advice.append(f"training a block may pay: {_points(choice.left)} below the source's accuracy are left")
    return advice


def advise_without_labels(choice: Choice) -> list[str]:
    """Return advice on an unlabelled sample, also on whether to collect labels."""
    labels = math.ceil(LABELS_OF_EACH * choice.head.num_classes / 10) * 10
    unseen = f"unlabelled pictures do not show whether the labels changed their meaning: {labels} labels would"
    if choice.verdict == "cannot tell":
        return ["collect labels, or measure the base model's source card (python -m tbft card)", unseen]
    if choice.verdict == "keep" and choice.drifted:
        told = f"collect {labels} labels: something has drifted, and only they tell what brings the accuracy back"
        return [told, unseen]
    advice = [_use(choice) if choice.verdict == "adapt" else "keep the model: its answers are as on the source"]
    if choice.verdict == "adapt" and _is_worth_more(choice.left):
        left = f"an estimated {_points(choice.left)} below the source's accuracy are left"
        advice.append(f"labels may pay: {left}, and {labels} labels tell what brings them back")
    return [*advice, unseen]


def _forgotten(choice: Choice, labels: NDArray[np.int64]) -> list[str]:
    """Return a warning about classes that the sample lacks, if the chosen remedies adapt the head to its classes."""
    absent = np.setdiff1d(np.arange(choice.head.num_classes), labels)
    if not len(absent) or not {"prior", "merge", "head"} & set(choice.remedies):
        return []
    named = ", ".join(map(str, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
    which = f"class {named} has" if len(absent) == 1 else f"classes {named} have"
    return [f"{which} no labelled image and will hardly be predicted: add some, if they still appear"]


def _use(choice: Choice) -> str:
    words = ", ".join(REMEDY_WORDS[name] for name in choice.remedies)
    return f"use {' + '.join(choice.remedies)}: {words}"


def _what_may_hide(accuracy: Interval | None, card: SourceCard, images: int) -> str:
    if accuracy is None or card.accuracy is None:
        return ""
    hidden = accuracy.below(card.accuracy).high
    return f", though {images} labels could miss a loss of up to {100 * hidden:.0f} points" if hidden > UNSEEN else ""


def _is_worth_more(left: Interval | None) -> bool:
    return left is not None and left.low > 0 and left.value >= WORTH_MORE


def _points(left: Interval | None) -> str:
    assert left is not None
    return f"{100 * left.value:.0f} points [{100 * left.low:.0f}, {100 * left.high:.0f}]"


def _held_by_single_images(choice: Choice) -> int:
    """Return the number of images each of which, if left out, would change the chosen label map."""
    names = tuple(name for name in choice.remedies if name not in ("prior", "head"))
    if not {"relabel", "merge"} & set(names):
        return 0
    (fit,) = (candidate.fit for candidate in choice.tried if candidate.remedies == names)
    return sum(len(images) for adapted, images in fit.held_out if not adapted.head.equals(fit.whole.head))
