"""Loss and accuracy of the network as it stands."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from tbft.data.batches import Examples
from tbft.models.statistics import inference_mode_of
from tbft.module import ImageClassifier


class Score(NamedTuple):
    """Mean cross-entropy, and accuracy as a fraction of 1."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(module: ImageClassifier, examples: Examples, batch_size: int = 128) -> Score:
    """Score a classifier in inference mode; modes are as before when it returns."""
    loss, correct = torch.zeros((), device=module.device), torch.zeros((), device=module.device)
    with inference_mode_of(module.model):
        for batch in examples.loader(batch_size):
            y = batch.y.to(module.device)
            logits = module(batch._replace(x=batch.x.to(module.device)))
            loss += F.cross_entropy(logits, y, reduction="sum")
            correct += (logits.argmax(1) == y).sum()
    return Score(loss.item() / len(examples), correct.item() / len(examples))
