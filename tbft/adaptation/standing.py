"""What a climb keeps account of: scores, parts of a sample, and copies of weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tbft.adaptation.score import Score
from tbft.remedies import Sample
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import correct, log_softmax


def figures_of(interval: Interval | None) -> dict[str, float] | None:
    """An interval as the record has it."""
    return None if interval is None else asdict(interval)


def score_of(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Score of logits ``(N, C)`` against labels ``(N,)``."""
    loss = -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return Score(loss, torch.from_numpy(correct(logits, labels)))


def part_of(score: Score, first: int, loss: float | None = None) -> Score:
    """The score on the images from this position on."""
    return Score(score.loss if loss is None else loss, score.right[first:])


def first_images(sample: Sample, count: int) -> Sample:
    """The first images of a sample."""
    labels = None if sample.labels is None else sample.labels[:count]
    return Sample(sample.features[:count], sample.logits[:count], labels)


def copy_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """A network's weights and buffers as they are now."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def plain_step(step: dict[str, Any]) -> dict[str, Any]:
    """A step of the remedies without gradients, as the record has it."""
    return {**step, "remedies": list(step["remedies"]), "accepted": bool(step["accepted"]), "cpu_seconds": None}
