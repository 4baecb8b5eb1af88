"""A small world in which a classifier's drift can be switched on: clusters in feature space, and the right head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbft.remedies import Head, Sample, SourceCard, measure_card

CLASSES, FEATURES = 6, 16
CENTRES = 1.3 * np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
HEAD = Head(CENTRES, -(CENTRES**2).sum(axis=1) / 2)  # optimal for equal priors and unit covariance
LONG_TAIL = np.array([32, 16, 8, 4, 2, 1]) / 63


@dataclass(frozen=True)
class Drift:
    """How the device differs from the source.

    Attributes:
        sensed: the sensor pushes every feature and adds noise; refreshed statistics take back the push.
        moved: how far the classes' centres have moved.
        new_label: of each class; empty leaves them.
        prior: of the classes; empty for equal.
        noise: share of labels that are another class.
    """

    sensed: bool = False
    moved: float = 0.0
    new_label: tuple[int, ...] = ()
    prior: tuple[float, ...] = ()
    noise: float = 0.0


def draw(images: int, seed: int, drift: Drift = Drift()) -> dict[str, Sample]:
    """A labelled sample under both states of the statistics."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(CLASSES, images, p=drift.prior or None)
    centres = CENTRES + drift.moved * np.random.default_rng(1).normal(size=CENTRES.shape)
    refreshed = centres[classes] + rng.normal(size=(images, FEATURES))
    source = refreshed.copy()
    if drift.sensed:
        refreshed = refreshed + 0.5 * rng.normal(size=refreshed.shape)
        source = 0.4 * refreshed - 0.8 * CENTRES[0]
    labels = np.array(drift.new_label)[classes] if drift.new_label else classes
    wrong = rng.random(images) < drift.noise
    labels = np.where(wrong, (labels + rng.integers(1, CLASSES, images)) % CLASSES, labels)
    return {
        "source": Sample(source, HEAD.logits(source), labels),
        "refreshed": Sample(refreshed, HEAD.logits(refreshed), labels),
    }


def unlabelled(samples: dict[str, Sample]) -> dict[str, Sample]:
    """The same without labels."""
    return {state: Sample(sample.features, sample.logits) for state, sample in samples.items()}


def source_card() -> SourceCard:
    """What the makers of this classifier would measure."""
    sample = draw(2000, 99)["source"]
    assert sample.labels is not None
    return measure_card(sample.features, sample.labels, HEAD, np.full(CLASSES, 1 / CLASSES))


def accuracy(statistics: str, head: Head, drift: Drift) -> float:
    """Of a head on other images of the same device, labels clean."""
    clean = Drift(drift.sensed, drift.moved, drift.new_label, drift.prior)
    sample = draw(4000, 1234, clean)[statistics]
    return float((head.logits(sample.features).argmax(axis=1) == sample.labels).mean())
