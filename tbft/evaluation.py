"""Loss and accuracy of the network as it stands."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812

from tbft.data.batches import Examples
from tbft.module import ImageClassifier


class Score(NamedTuple):
    """Mean cross-entropy, and accuracy as a fraction of 1."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(module: ImageClassifier, examples: Examples, batch_size: int = 128) -> Score:
    """Score a classifier in inference mode; modes are as before when it returns."""
    modes = [(part, part.training) for part in module.model.modules()]
    module.model.eval()
    loss, correct = torch.zeros((), device=module.device), torch.zeros((), device=module.device)
    for batch in examples.loader(batch_size):
        y = batch.y.to(module.device)
        logits = module(batch._replace(x=batch.x.to(module.device)))
        loss += F.cross_entropy(logits, y, reduction="sum")
        correct += (logits.argmax(1) == y).sum()
    for part, mode in modes:
        part.training = mode
    return Score(loss.item() / len(examples), correct.item() / len(examples))
