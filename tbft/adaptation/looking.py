"""Forward passes over a sample in torch, over a part of it or all, as ``tbft.diagnosis.looking`` decides."""

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
    """Diagnose a first part of a sample, and all of it if the part leaves the decision open.

    Args:
        classifier: classifier with the base model's weights; its weights and buffers are restored at the end.
        examples: images of the sample.
        card: source card of the base model.
        labelled: whether the labels may be used.
        seed: seed of the draws: the first part, and the batches that estimate statistics.
        reserved: number of images at the end of the examples that validate later on; the first part takes none of them.
        train: number of images on which blocks may be trained by steps afterwards; 0 if training is not allowed.
    """

    def observe_at(positions: Ints) -> Observation:
        part = examples if len(positions) == len(examples) else examples.subset(positions.tolist())
        return observe(classifier, part, labelled=labelled, seed=seed)

    order = torch.randperm(len(examples) - reserved, generator=torch.Generator().manual_seed(seed))
    return looking.look_until_decided(
        observe_at, len(examples), order.numpy(), card, classes=classifier.num_classes, train=train
    )
