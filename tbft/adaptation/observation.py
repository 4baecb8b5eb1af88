"""A sample as the network sees it, under the base model's statistics and under refreshed ones."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tbft.adaptation.features import features_of
from tbft.adaptation.freezing import IMAGES_IN_A_BATCH, refresh_statistics
from tbft.adaptation.source_card import head_of
from tbft.data.batches import Examples
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.models.multiply_adds import count_multiply_adds
from tbft.models.statistics import estimating_statistics, has_statistics, inference_mode_of
from tbft.remedies import REFRESHED, SOURCE, Head, Sample
from tbft.remedies.refresh import LARGE_BATCH

Samples = dict[str, Sample]


@dataclass(frozen=True)
class Observation:
    """Two forward passes over a sample: all that the remedies without gradients take.

    Attributes:
        samples: by state of the BatchNorm statistics; only ``source`` for a network without BatchNorm.
        head: of the base model.
        forward: multiply-adds of one image's forward pass.
        refreshed: the network's buffers under refreshed statistics, by state-dict key.
        cpu_seconds: of the passes, by state of the statistics.
    """

    samples: Samples
    head: Head
    forward: float
    refreshed: dict[str, Tensor]
    cpu_seconds: dict[str, float]


def observe(classifier: Classifier, examples: Examples, *, labelled: bool, seed: int) -> Observation:
    """Look at a sample; the network is as before when this returns.

    Args:
        classifier: with the base model's weights, placed on its device.
        examples: images.
        labelled: whether their labels count.
        seed: draws the batches of the refresh.

    Raises:
        BadInput: if the head is more than one linear layer, or the network answers with numbers that are not finite.
    """
    chain = classifier.model
    if not chain.linear_head:
        raise BadInput(
            "the head of this network is more than one linear layer on features, and what drifted cannot be told from "
            "it: name the drift level"
        )
    head, samples, began = head_of(classifier), {}, time.process_time()
    samples[SOURCE] = look_at(classifier, examples, head, labelled=labelled)
    refreshed: dict[str, Tensor] = {}
    spent = {SOURCE: time.process_time() - began}
    if has_statistics(chain.modules()) and len(examples) > 1:
        before = {key: value.clone() for key, value in chain.named_buffers()}
        samples[REFRESHED] = refresh_and_look(classifier, examples, head, labelled=labelled, seed=seed)
        refreshed = {key: value.clone() for key, value in chain.named_buffers()}
        chain.load_state_dict(before, strict=False)
        spent[REFRESHED] = time.process_time() - began - spent[SOURCE]
    image = examples.__getitems__([0]).x.to(next(chain.parameters()).device)
    return Observation(samples, head, count_multiply_adds(chain, image.float()), refreshed, spent)


def look_at(classifier: Classifier, examples: Examples, head: Head, *, labelled: bool) -> Sample:
    """One forward pass over a sample, with the network as it stands.

    Args:
        classifier: the classifier.
        examples: images.
        head: whose logits count.
        labelled: whether their labels count.
    """
    with inference_mode_of(classifier.model):
        return _seen_as(features_of(classifier, examples, "fc"), examples, head, labelled=labelled)


def refresh_and_look(
    classifier: Classifier, examples: Examples, head: Head, *, labelled: bool, seed: int, images: int | None = None
) -> Sample:
    """Re-estimate the statistics on a sample, and look at it under them.

    One batch that is large enough gives both in one pass: normalising by the batch and by what is kept of it differ in
    the variance alone, which is kept without bias, by less than 1 / ``LARGE_BATCH``.

    Args:
        classifier: the classifier, whose statistics are then the sample's.
        examples: images.
        head: whose logits count.
        labelled: whether their labels count.
        seed: draws the batches.
        images: how many of the images make the statistics where they are more than one batch; ``None`` takes all.
    """
    if not LARGE_BATCH <= len(examples) <= IMAGES_IN_A_BATCH:
        refresh_statistics(classifier, examples, seed, images)
        return look_at(classifier, examples, head, labelled=labelled)
    with estimating_statistics(classifier.model):
        return _seen_as(features_of(classifier, examples, "fc", IMAGES_IN_A_BATCH), examples, head, labelled=labelled)


@torch.no_grad()
def put_head(classifier: Classifier, head: Head) -> None:
    """Replace the weights of the classifier's head.

    Args:
        classifier: the classifier, whose head gets a bias only if it has one.
        head: features to logits.
    """
    layer = classifier.model.head
    layer.weight.copy_(torch.from_numpy(head.weight).reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(torch.from_numpy(head.bias))


def _seen_as(made: Tensor, examples: Examples, head: Head, *, labelled: bool) -> Sample:
    features = made.float().cpu().double().numpy()
    labels = examples.y.cpu().numpy().astype(np.int64) if labelled else None
    return Sample(features, head.logits(features) if np.isfinite(features).all() else features, labels)
