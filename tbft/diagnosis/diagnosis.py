"""The diagnosis of a sample: what drifted, the evidence, and advice; the model is not changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tbft.diagnosis.advice import advise, advise_without_labels
from tbft.diagnosis.diagnosis_data import DiagnosisData
from tbft.diagnosis.findings import Finding, find_levels
from tbft.diagnosis.offers import offers_of
from tbft.diagnosis.table import table_of
from tbft.errors import BadInput
from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice
from tbft.remedies.choose import DRIFT_LEVEL, choose
from tbft.remedies.evidence import Interval, clopper_pearson
from tbft.remedies.label_free import estimate_accuracy
from tbft.remedies.sample import SOURCE, Head, Sample, correct

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Diagnosis(DiagnosisData):
    """The diagnosis of a sample for a base model; prints and draws itself (attributes: see ``DiagnosisData``)."""

    def table(self) -> str:
        """Return the diagnosis as plain text: verdict, evidence, remedies and advice."""
        return table_of(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the diagnosis: evidence of drift, gain of each remedy, and advice.

        Args:
            path: file to write, PNG or SVG by its ending; ``None`` writes none.

        Returns:
            A matplotlib figure, which a notebook displays.

        Raises:
            BadInput: if the picture cannot be drawn, as on a device without matplotlib, or cannot be written.
        """
        try:
            from tbft.diagnosis_figure import draw_diagnosis, save_figure
        except ImportError as error:
            raise BadInput(
                f"a picture cannot be drawn here ({error}): use table() or as_dict(), or diagnose where all of tbft "
                f"is installed"
            ) from None
        figure = draw_diagnosis(self)
        if path is not None:
            save_figure(figure, path)
        return figure

    def __repr__(self) -> str:
        return self.table()


def diagnose(
    samples: Mapping[str, Sample],
    head: Head,
    card: SourceCard | None = None,
    *,
    forward: float = 0.0,
    level: float = DRIFT_LEVEL,
    training: Mapping[str, float] | None = None,
) -> Diagnosis:
    """Diagnose a sample: choose remedies, find the levels that drifted, and advise.

    Args:
        samples: sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: head of the base model.
        card: source card of the base model; without one there is less evidence.
        forward: multiply-adds of one image's forward pass, for the costs; 0 if not known.
        level: level, corrected for the number of tests, at which the sample counts as drifted.
        training: cost of the remedies that train, if known (see ``DiagnosisData``).
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
        advice = advise_without_labels(choice)
    else:
        if choice.tried:
            findings = find_levels(choice, samples, card)
        levels = tuple(f.level for f in findings if f.found and f.level != "labels")
        hits = correct(source.logits, source.labels)
        accuracy = clopper_pearson(int(hits.sum()), len(hits))
        advice = advise(choice, findings, accuracy, card, labels=source.labels)
    return Diagnosis(
        verdict=choice.verdict,
        reason=choice.reason,
        levels=levels,
        findings=findings,
        signs=choice.signs,
        accuracy=accuracy,
        source_accuracy=card.accuracy,
        choice=choice,
        offers=offers_of(choice, source, forward),
        training=training or {},
        advice=tuple(advice),
        images=len(source),
        labelled=source.labels is not None,
    )


def _levels_without_labels(choice: Choice) -> tuple[str, ...]:
    """Return the levels of the remedies chosen without labels; lost confidence alone does not show the level."""
    return tuple({"refresh": "input", "prior": "prior"}[name] for name in choice.remedies if name != "keep")
