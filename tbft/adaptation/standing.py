"""What a climb keeps account of: scores, steps, and copies of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tbft.remedies.choice import Step
from tbft.remedies.evidence import Interval
from tbft.remedies.sample import correct, log_softmax
from tbft.remedies.validated import Score


def figures_of(interval: Interval | None) -> dict[str, float] | None:
    """An interval as the record has it."""
    return None if interval is None else asdict(interval)


def score_of(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Score of logits ``(N, C)`` against labels ``(N,)``."""
    loss = -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return Score(loss, torch.from_numpy(correct(logits, labels)))


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
