"""The contents of a diagnosis: findings, remedies and advice, as numbers and sentences."""

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
    """The contents of a diagnosis of a sample for a base model.

    Attributes:
        verdict: ``keep``, ``adapt``, ``undecided`` or ``cannot tell`` (see ``Choice``).
        reason: reason for the verdict, in one sentence.
        levels: levels that drifted, of ``input``, ``feature``, ``output``, ``prior``; empty for none.
        findings: evidence for each level.
        signs: tests of whether anything drifted at all.
        accuracy: accuracy of the base model on the sample, counted, or estimated without labels; ``None`` if neither is
            possible.
        source_accuracy: accuracy of the base model on its source domain; ``None`` without a source card.
        choice: remedies that were tried, and the ones to use.
        offers: gain over the base model and cost of each combination of remedies.
        training: cost of each remedy that trains, by name, in forward passes over the sample. Its gain is not known
            before it is tried, and at most ``choice.left``.
        advice: advice, in sentences.
        images: number of images in the sample.
        labelled: whether the images have labels.
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
        """Whether wrong labels explain the lost accuracy, so that nothing may be trained on them.

        That is so if the labels contradict the model's answers and the model is as confident as on the source. On new
        sub-populations it is less confident, although its answers can be confident and wrong there too. Where refreshed
        statistics are kept, the sensor has changed: confidence that was lost under the source's statistics then says
        nothing about sub-populations.
        """
        if not any(finding.found and finding.level == "labels" for finding in self.findings):
            return False
        if self.choice.statistics == REFRESHED:
            return True
        return not any(sign.name == "confidence" and sign.p <= LEVEL for sign in self.signs)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the arrays as values for JSON."""
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
    """Return a step as a dictionary without its CPU-seconds, which vary from run to run."""
    return {name: value for name, value in _plain(step).items() if name != "cpu_seconds"}


def _plain(value: Any) -> Any:
    """Return a dataclass as a dictionary of plain values; ``None`` stays ``None``."""
    return None if value is None else _listed(asdict(value))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_listed(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
