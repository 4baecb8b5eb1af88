"""Bookkeeping of a climb: scores, steps for the record, and copies of weights."""

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
    """Return an interval as the record stores it."""
    return None if interval is None else asdict(interval)


def score_of(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Return the score of logits ``(N, C)`` against labels ``(N,)``."""
    loss = -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return Score(loss, torch.from_numpy(correct(logits, labels)))


def copy_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's present weights and buffers."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def recorded_steps(steps: Sequence[Step], looking: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the steps of the remedies without gradients as the record stores them.

    Args:
        steps: steps in the order tried.
        looking: CPU-seconds of the passes over the sample by state of the statistics; they are added to the first step
            that needs that state.
    """
    left, told = dict(looking), []
    for step in steps:
        seconds = step.cpu_seconds + left.pop(step.statistics, 0.0)
        plain = {**asdict(step), "remedies": list(step.remedies), "accepted": bool(step.accepted)}
        told.append({**plain, "cpu_seconds": seconds})
    return told
