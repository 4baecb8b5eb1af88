"""A look at a sample in torch; how much of it is looked at is decided in ``tbft.diagnosis.looking``."""

from __future__ import annotations

import torch

from tbft.adaptation.observation import Observation, observe
from tbft.data.batches import Examples
from tbft.diagnosis import looking
from tbft.models.classifier import Classifier
from tbft.remedies import SourceCard
from tbft.remedies.sample import Ints


def look_until_decided(
    classifier: Classifier,
    examples: Examples,
    card: SourceCard,
    *,
    labelled: bool,
    seed: int,
    reserved: int = 0,
    train: int = 0,
) -> looking.Look[Observation]:
    """Look at a first part of a sample, and at all of it if that leaves anything open.

    Args:
        classifier: with the base model's weights; as before when this returns.
        examples: images.
        card: what is known of the source.
        labelled: whether the labels count.
        seed: draws the first part, and the batches in which statistics are estimated.
        reserved: images at the end of the examples that validate later on, and belong to no first part.
        train: images on which blocks may be trained by steps afterwards; 0 trains none.
    """

    def observe_at(positions: Ints) -> Observation:
        part = examples if len(positions) == len(examples) else examples.subset(positions.tolist())
        return observe(classifier, part, labelled=labelled, seed=seed)

    order = torch.randperm(len(examples) - reserved, generator=torch.Generator().manual_seed(seed))
    return looking.look_until_decided(
        observe_at, len(examples), order.numpy(), card, classes=classifier.num_classes, train=train
    )
