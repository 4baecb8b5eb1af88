"""Measure a base model's source card on source images that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tbft.adaptation.align import measure_moments
from tbft.adaptation.features import features_of
from tbft.data.batches import joined
from tbft.data.labelled import LabelledData
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.models.statistics import inference_mode_of
from tbft.remedies import Head, SourceCard, measure_card

MOST_IMAGES = 2000
"""Largest number of source images to measure on; more would add little to a comparison with a device's small sample."""


def measure_source_card(classifier: Classifier, data: LabelledData) -> SourceCard:
    """Measure a base model's source card on images that did not train it.

    From source data it takes the validation and test images of the split that trained the model (same options and
    seed); from target data without drift, all images.

    Args:
        classifier: classifier with the base model's weights, on its device.
        data: opened images.

    Raises:
        BadInput: if the images drifted or have no labels, or the head is more than one linear layer.
    """
    assert data.train is not None and data.val is not None and data.test is not None
    drift = data.drift
    if not drift.is_source and drift.name != "unknown":
        raise BadInput(
            f"a source card describes the source domain, and these images drifted ({drift.name}): leave "
            "out what changes them, such as data.corruption and data.label_map, or give --data.domain source"
        )
    if not data.labelled:
        raise BadInput("a source card counts right answers, and data.labelled is false: leave it out")
    if not classifier.model.linear_head:
        raise BadInput("the head of this network is more than one linear layer on features: it can have no source card")
    unseen = joined(data.val, data.test)
    if not drift.is_source:
        unseen = joined(data.train, unseen)
    order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(data.seed))[:MOST_IMAGES]
    unseen = unseen.subset(order.sort().values.tolist())
    labels, classes = unseen.y.cpu().numpy(), classifier.num_classes
    with inference_mode_of(classifier.model):
        features = features_of(classifier, unseen, "fc").float().cpu().numpy()
    counts = np.bincount((data.train.y if drift.is_source else unseen.y).cpu().numpy(), minlength=classes)
    card = measure_card(features.astype(np.float64), labels, head_of(classifier), counts / counts.sum())
    return replace(card, moments=measure_moments(classifier, unseen))


def head_of(classifier: Classifier) -> Head:
    """Return the linear head as the remedies take it; a missing bias becomes zeros."""
    layer = classifier.model.head
    weight, bias = layer.weight.detach().float().cpu().flatten(1), layer.bias
    zeros = np.zeros(len(weight))
    return Head(weight.numpy(), zeros if bias is None else bias.detach().float().cpu().numpy())
