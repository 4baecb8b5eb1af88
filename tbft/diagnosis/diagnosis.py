"""What drifted on a device, how sure that is, and what to do about it; nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tbft.diagnosis.findings import Finding, find_levels
from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice, Sign, Verdict
from tbft.remedies.choose import DRIFT_LEVEL, choose
from tbft.remedies.evidence import Interval, clopper_pearson
from tbft.remedies.label_free import estimate_accuracy
from tbft.remedies.sample import SOURCE, Head, Sample, correct

LABELS_OF_EACH = 5
"""Labels of each class from which a label map was exact on development drifts, label noise of 30 % included."""

WORTH_TRAINING = 0.03
"""Accuracy below the source's from which on training a block is advised."""


@dataclass(frozen=True)
class Diagnosis:
    """What a sample says of a base model.

    Attributes:
        verdict: ``keep``, ``adapt``, ``undecided`` or ``cannot tell``, as of the remedies.
        reason: one sentence.
        levels: that drifted, of ``input``, ``feature``, ``output``, ``prior``; empty for none.
        findings: the evidence for each level.
        signs: tests of whether anything drifted at all.
        accuracy: of the base model on the sample: counted, or estimated without labels; ``None`` if neither can be.
        choice: every remedy that was tried, and the one to use.
        advice: what to do, in sentences.
        images: in the sample.
        labelled: whether they came with labels.
    """

    verdict: Verdict
    reason: str
    levels: tuple[str, ...]
    findings: tuple[Finding, ...]
    signs: tuple[Sign, ...]
    accuracy: Interval | None
    choice: Choice
    advice: tuple[str, ...]
    images: int
    labelled: bool

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays, fit for JSON."""
        choice = self.choice
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "levels": list(self.levels),
            "accuracy": _plain(self.accuracy),
            "images": self.images,
            "labelled": self.labelled,
            "signs": [_plain(sign) for sign in self.signs],
            "findings": [_plain(finding) for finding in self.findings],
            "remedies": [_plain(step) for step in choice.steps],
            "chosen": {
                "remedies": list(choice.remedies),
                "statistics": choice.statistics,
                "accuracy": _plain(choice.accuracy),
                "left": _plain(choice.left),
                "labels_needed": choice.labels_needed,
            },
            "advice": list(self.advice),
        }

    def table(self) -> str:
        """The diagnosis as plain text of three parts: the verdict, the evidence, and the remedies."""
        kind = "labelled" if self.labelled else "unlabelled"
        lines = [
            f"drift     {', '.join(self.levels) or 'none found'} ({self.images} {kind} images)",
            f"verdict   {self.verdict}: {self.reason.removeprefix('cannot tell: ')}",
        ]
        if self.accuracy:
            lines.append(f"accuracy  {_percent(self.accuracy)}{'' if self.labelled else ', estimated'}")
        evidence = [(sign.name, sign.p, sign.effect, "") for sign in self.signs]
        evidence += [(f.statistic, f.p, f.effect, f"{f.level}: {'yes' if f.found else 'no'}") for f in self.findings]
        if evidence:
            rows = [(name, f"{p:.2g}", _effect(effect), found) for name, p, effect, found in evidence]
            lines += ["", *_columns(("evidence", "p", "effect, points", "level"), rows)]
        if self.choice.steps:
            steps = [
                (" + ".join(s.remedies), _percent(s.accuracy), "accepted" if s.accepted else s.reason)
                for s in self.choice.steps
            ]
            lines += ["", *_columns(("remedy", "accuracy", ""), steps)]
        return "\n".join([*lines, *(["", *(f"- {sentence}" for sentence in self.advice)] if self.advice else [])])


def diagnose(
    samples: Mapping[str, Sample],
    head: Head,
    card: SourceCard | None = None,
    *,
    forward: float = 0.0,
    level: float = DRIFT_LEVEL,
) -> Diagnosis:
    """Say what drifted, from the same arrays that the remedies take.

    Args:
        samples: the sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: of the base model.
        card: what is known of the source; less is told without one.
        forward: multiply-adds of one image's forward pass, for the costs.
        level: at which the sample counts as drifted.
    """
    card = card or SourceCard()
    source = samples[SOURCE]
    choice = choose(samples, head, card, forward=forward, level=level)
    findings: tuple[Finding, ...] = ()
    accuracy: Interval | None = None
    if source.labels is None:
        levels = _levels_without_labels(choice)
        if card.confidences is not None and card.accuracy is not None:
            accuracy = estimate_accuracy(samples, card)
    else:
        if choice.tried:
            findings = find_levels(choice, samples, card)
        levels = tuple(f.level for f in findings if f.found and f.level != "labels")
        hits = correct(source.logits, source.labels)
        accuracy = clopper_pearson(int(hits.sum()), len(hits))
    return Diagnosis(
        choice.verdict,
        choice.reason,
        levels,
        findings,
        choice.signs,
        accuracy,
        choice,
        tuple(_advice(choice, findings, head.num_classes, source)),
        len(source),
        source.labels is not None,
    )


def _levels_without_labels(choice: Choice) -> tuple[str, ...]:
    """What an accepted remedy without labels stands for; lost confidence alone does not tell the level."""
    return tuple({"refresh": "input", "prior": "prior"}[name] for name in choice.remedies if name != "keep")


def _advice(choice: Choice, findings: Sequence[Finding], classes: int, source: Sample) -> list[str]:
    advice = []
    if choice.verdict == "adapt":
        advice.append(f"use {' + '.join(choice.remedies)}")
    if choice.labels_needed:
        advice.append(f"collect {choice.labels_needed - len(source)} labels more: {choice.reason}")
    if any(finding.found and finding.level == "labels" for finding in findings):
        advice.append("check the labels: many contradict answers of which the model is sure")
    if single := _held_by_single_images(choice):
        needed = max(LABELS_OF_EACH * classes - len(source), LABELS_OF_EACH)
        advice.append(f"collect {needed} labels more: the label map hangs on each of {single} single images")
    if source.labels is None and choice.verdict == "keep" and choice.drifted:
        needed = math.ceil(LABELS_OF_EACH * classes / 10) * 10
        advice.append(f"collect {needed} labels: the model has lost confidence, and only labels tell to what")
    elif (
        choice.left and choice.left.low > 0 and choice.left.value >= WORTH_TRAINING and choice.verdict != "cannot tell"
    ):
        left = f"{100 * choice.left.value:.0f} points [{100 * choice.left.low:.0f}, {100 * choice.left.high:.0f}]"
        advice.append(f"training a block may pay: {left} below the source's accuracy are left")
    return advice


def _held_by_single_images(choice: Choice) -> int:
    """Images without any one of which the chosen label map would be another one."""
    names = tuple(name for name in choice.remedies if name not in ("prior", "head"))
    if not {"relabel", "merge"} & set(names):
        return 0
    (fit,) = (candidate.fit for candidate in choice.tried if candidate.remedies == names)
    return sum(len(images) for adapted, images in fit.held_out if not adapted.head.equals(fit.whole.head))


def _plain(value: Any) -> Any:
    """A dataclass as a dictionary of plain values; ``None`` stays."""
    return None if value is None else _listed(asdict(value))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_listed(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _effect(effect: Interval | float) -> str:
    if isinstance(effect, Interval):
        return f"{100 * effect.value:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]"
    return f"{100 * effect:+.1f}"


def _columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (titles, *rows)]
    return [line.rstrip() for line in lines]
