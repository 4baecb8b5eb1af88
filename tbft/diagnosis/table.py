"""A diagnosis as plain text: verdict, evidence, remedies and advice."""

from __future__ import annotations

from collections.abc import Sequence

from tbft.diagnosis.diagnosis_data import DiagnosisData
from tbft.diagnosis.offers import Offer, distinct
from tbft.remedies.choice import Step
from tbft.remedies.evidence import Interval

SMALLEST_P = 1e-4
"""p-values below this are printed as ``<0.0001``: their exact size has no meaning."""


def table_of(diagnosis: DiagnosisData) -> str:
    """Return the whole diagnosis as text of at most 140 columns."""
    kind = "labelled" if diagnosis.labelled else "unlabelled"
    lines = [
        f"drift     {name_levels(diagnosis)} ({diagnosis.images} {kind} images)",
        f"verdict   {diagnosis.verdict}: {diagnosis.reason.removeprefix('cannot tell: ')}",
    ]
    if diagnosis.accuracy:
        lines.append(f"accuracy  {_accuracies(diagnosis)}")
    if diagnosis.signs:
        rows = [(sign.says, format_p(sign.p), _points(sign.effect)) for sign in diagnosis.signs]
        lines += ["", *_columns(("has anything drifted?", "p", "effect, points"), rows)]
    if diagnosis.findings:
        found = [
            (f.level, "yes" if f.found else "no", format_p(f.p), _points(f.effect), f.statistic)
            for f in diagnosis.findings
        ]
        lines += ["", *_columns(("at which level?", "", "p", "effect, points", "of"), found)]
    if diagnosis.offers:
        lines += ["", *_remedies(diagnosis)]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in diagnosis.advice)])


def name_levels(diagnosis: DiagnosisData) -> str:
    """Return the levels that drifted, or in a few words why none is named."""
    if diagnosis.levels:
        return ", ".join(diagnosis.levels)
    if diagnosis.verdict == "cannot tell":
        return "cannot tell"
    if not diagnosis.choice.drifted:
        return "none found"
    return "yes, but at no particular level" if diagnosis.labelled else "yes, at a level that only labels can show"


def format_p(p: float) -> str:
    """Return a p-value with two digits, or ``<0.0001`` below ``SMALLEST_P``."""
    return f"{p:.2g}" if p >= SMALLEST_P else f"<{SMALLEST_P:.4f}"


def equation_of_p(p: float) -> str:
    """Return a p-value as a statement, such as ``p = 0.02`` or ``p < 0.0001``."""
    return f"p = {p:.2g}" if p >= SMALLEST_P else f"p < {SMALLEST_P:.4f}"


def _accuracies(diagnosis: DiagnosisData) -> str:
    now, chosen = diagnosis.accuracy, diagnosis.choice.accuracy
    assert now is not None
    said = [f"{format_percent(now)} now"]
    if diagnosis.verdict == "adapt" and chosen:
        said.append(f"{format_percent(chosen)} with {' + '.join(diagnosis.choice.remedies)}")
    if diagnosis.source_accuracy is not None:
        said.append(f"{100 * diagnosis.source_accuracy:.1f} % on the source")
    return ", ".join(said) + ("" if diagnosis.labelled else " (estimated without labels)")


def _remedies(diagnosis: DiagnosisData) -> list[str]:
    steps = {step.remedies: step for step in diagnosis.choice.steps}
    shown = distinct(diagnosis.offers)
    rows = [
        (
            offer.name,
            format_percent(offer.accuracy),
            _gain(offer),
            format_passes(offer.passes),
            _judgement(offer, steps[offer.remedies], diagnosis),
        )
        for offer in shown
    ]
    titles = ("remedy", "accuracy", "gain, points", "passes", "")
    lines = _columns(titles, rows)
    if (left_out := len(diagnosis.offers) - len(shown)) == 1:
        lines.append("(one more combination ends with the same model as one of these)")
    elif left_out:
        lines.append(f"({left_out} more combinations end with the same model as one of these)")
    if diagnosis.training:
        lines.append(f"not tried here, because they train: {list_training(diagnosis)} passes")
    if shown[0].passes is not None:
        lines.append("passes: estimated cost, in forward passes over these images")
    return lines


def _judgement(offer: Offer, step: Step, diagnosis: DiagnosisData) -> str:
    if offer.chosen:
        return "<- use" if diagnosis.verdict == "adapt" else "<- keep"
    if step.gain is None:  # a step without labels, or the base model
        return "" if step.remedies == ("keep",) else step.reason
    if not diagnosis.choice.drifted:
        return ""
    if step.accepted:
        return f"better than the best so far ({equation_of_p(step.p)})"
    if step.gain.interval.value < 0:
        return f"{step.gain.worse - step.gain.better} fewer right than the best so far"
    return f"not clearly better than the best so far ({equation_of_p(step.p)})"


def _gain(offer: Offer) -> str:
    return "" if offer.gain is None else _points(offer.gain)


def format_passes(passes: float | None) -> str:
    """Return a cost in forward passes with two digits; empty if it is not known."""
    if passes is None:
        return ""
    return f"{passes:.2g}" if passes >= 0.01 or passes == 0 else "<0.01"


def list_training(diagnosis: DiagnosisData) -> str:
    """Return the remedies that train, each with its cost in forward passes."""
    return ", ".join(f"{name} {format_passes(passes)}" for name, passes in diagnosis.training.items())


def format_percent(interval: Interval) -> str:
    """Return an accuracy with its interval, in percent."""
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(effect: Interval) -> str:
    return f"{100 * effect.value:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]"


def _columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (titles, *rows)]
    return [line.rstrip() for line in lines]
