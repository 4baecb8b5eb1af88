"""What a sample says of a base model: findings, remedies and advice, as numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tbft.diagnosis.findings import LEVEL, Finding
from tbft.diagnosis.offers import Offer
from tbft.remedies.choice import Choice, Sign, Step, Verdict
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import REFRESHED


@dataclass(frozen=True, repr=False)
class DiagnosisData:
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
        less sure, though they too can be answered wrong with confidence. Where refreshed statistics stand, the sensor
        has changed, and confidence that was lost under the source's says nothing of sub-populations.
        """
        if not any(finding.found and finding.level == "labels" for finding in self.findings):
            return False
        if self.choice.statistics == REFRESHED:
            return True
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
