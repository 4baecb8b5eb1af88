"""What a climb keeps account of: scores, parts of a sample, and copies of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tbft.adaptation.score import Score
from tbft.remedies import REFRESHED, Choice, Head, Sample, SourceCard
from tbft.remedies.choice import Step
from tbft.remedies.combinations import candidates
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import correct, log_softmax


def figures_of(interval: Interval | None) -> dict[str, float] | None:
    """An interval as the record has it."""
    return None if interval is None else asdict(interval)


def score_of(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Score of logits ``(N, C)`` against labels ``(N,)``."""
    loss = -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return Score(loss, torch.from_numpy(correct(logits, labels)))


def images_at(sample: Sample, positions: Sequence[int]) -> Sample:
    """Some images of a sample."""
    where = np.asarray(positions, np.int64)
    labels = None if sample.labels is None else sample.labels[where]
    return Sample(sample.features[where], sample.logits[where], labels)


def copy_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """A network's weights and buffers as they are now."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def recorded_steps(steps: Sequence[Step], looking: Mapping[str, float]) -> list[dict[str, Any]]:
    """Steps of the remedies without gradients, as the record has them.

    Args:
        steps: in the order tried.
        looking: CPU-seconds of the passes over the sample by state of the statistics, booked to the first step that
            needs them.
    """
    left, told = dict(looking), []
    for step in steps:
        seconds = step.cpu_seconds + left.pop(step.statistics, 0.0)
        plain = {**asdict(step), "remedies": list(step.remedies), "accepted": bool(step.accepted)}
        told.append({**plain, "cpu_seconds": seconds})
    return told


def heads_of_part(
    choice: Choice, samples: Mapping[str, Sample], positions: Sequence[int], card: SourceCard
) -> tuple[Head, Head]:
    """The chosen head, and the last accepted one that is not solved, fitted to a part of the sample.

    Training starts from the second: a block that is trained makes other features, and a head that was solved from few
    labels stands in its way (sub-populations of Tiny-ImageNet, 1,000 labels: 1.5 points).

    Args:
        choice: whose combination is meant.
        samples: by state of the statistics.
        positions: of the part.
        card: what is known of the source.
    """
    part = {state: images_at(sample, positions) for state, sample in samples.items()}
    fitted = {c.remedies: c.fit.whole.head for c in candidates(part, choice.tried[0].fit.whole.head, card)}
    unsolved: tuple[str, ...] = ("refresh",) if choice.statistics == REFRESHED else ("keep",)
    for step in choice.steps:
        if step.accepted and step.statistics == choice.statistics and step.remedies[-1] != "head":
            unsolved = step.remedies
    return fitted[choice.remedies], fitted[unsolved]
