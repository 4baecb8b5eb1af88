"""What drifted on a device, how sure that is, and what to do about it; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tbft.diagnosis.advice import advise, advise_without_labels
from tbft.diagnosis.findings import LEVEL, Finding, find_levels
from tbft.diagnosis.offers import Offer, offers_of
from tbft.diagnosis.table import table_of
from tbft.errors import BadInput
from tbft.remedies.card import SourceCard
from tbft.remedies.choice import Choice, Sign, Step, Verdict
from tbft.remedies.choose import DRIFT_LEVEL, choose
from tbft.remedies.evidence import Interval, clopper_pearson
from tbft.remedies.label_free import estimate_accuracy
from tbft.remedies.sample import SOURCE, Head, Sample, correct

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What a sample says of a base model.

    Attributes:
        verdict: ``keep``, ``adapt``, ``undecided`` or ``cannot tell``, as of the remedies.
        reason: one sentence.
        levels: that drifted, of ``input``, ``feature``, ``output``, ``prior``; empty for none.
        findings: the evidence for each level.
        signs: tests of whether anything drifted at all.
        accuracy: of the base model on the sample: counted, or estimated without labels; ``None`` if neither can be.
        source_accuracy: of the base model on its source domain; ``None`` without a source card.
        choice: every remedy that was tried, and the one to use.
        offers: what each of them would bring over the base model, and cost.
        training: what the remedies that train would cost, by name, in forward passes over the sample; what they would
            bring is not known before they are tried, and at most ``choice.left``.
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
    source_accuracy: float | None
    choice: Choice
    offers: tuple[Offer, ...]
    training: Mapping[str, float]
    advice: tuple[str, ...]
    images: int
    labelled: bool

    @property
    def has_wrong_labels(self) -> bool:
        """Whether wrong labels explain what is left, and nothing may be trained on them.

        The labels contradict a model that is as sure of the images as of its source's. Of new sub-populations it is
        less sure, though they too can be answered wrong with confidence.
        """
        if not any(finding.found and finding.level == "labels" for finding in self.findings):
            return False
        return not any(sign.name == "confidence" and sign.p <= LEVEL for sign in self.signs)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays, fit for JSON."""
        choice = self.choice
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "levels": list(self.levels),
            "accuracy": _plain(self.accuracy),
            "source_accuracy": self.source_accuracy,
            "images": self.images,
            "labelled": self.labelled,
            "signs": [_plain(sign) for sign in self.signs],
            "findings": [_plain(finding) for finding in self.findings],
            "remedies": [
                {**_untimed(step), "gain_over_base": _plain(offer.gain), "passes": offer.passes}
                for step, offer in zip(choice.steps, self.offers, strict=True)
            ],
            "chosen": {
                "remedies": list(choice.remedies),
                "statistics": choice.statistics,
                "accuracy": _plain(choice.accuracy),
                "left": _plain(choice.left),
                "labels_needed": choice.labels_needed,
            },
            "training_passes": dict(self.training),
            "advice": list(self.advice),
        }

    def table(self) -> str:
        """The diagnosis as plain text: the verdict, the evidence, the remedies, and what to do."""
        return table_of(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the diagnosis: what drifted, what each remedy would bring, and what to do.

        Args:
            path: where to write the picture, as PNG or SVG by its ending; ``None`` writes none.

        Returns:
            A figure of matplotlib, which a notebook shows by itself.

        Raises:
            BadInput: if the picture cannot be drawn here, as on a device without matplotlib, or not be written.
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
    """Say what drifted, from the same arrays that the remedies take.

    Args:
        samples: the sample by state of the statistics: ``source`` and, where computed, ``refreshed``.
        head: of the base model.
        card: what is known of the source; less is told without one.
        forward: multiply-adds of one image's forward pass, for the costs.
        level: at which the sample counts as drifted.
        training: see ``Diagnosis``, where it is known.
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
    """What an accepted remedy without labels stands for; lost confidence alone does not tell the level."""
    return tuple({"refresh": "input", "prior": "prior"}[name] for name in choice.remedies if name != "keep")


def _untimed(step: Step) -> dict[str, Any]:
    """A step without what fitting it took, which is another number each time."""
    return {name: value for name, value in _plain(step).items() if name != "cpu_seconds"}


def _plain(value: Any) -> Any:
    """A dataclass as a dictionary of plain values; ``None`` stays."""
    return None if value is None else _listed(asdict(value))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_listed(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
