"""Features and logits of a sample, under the base model's BatchNorm statistics and under refreshed ones."""

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
    """Result of two forward passes over a sample: all the input that the remedies without gradients need.

    Attributes:
        samples: features, logits and labels by state of the BatchNorm statistics, ``SOURCE`` or ``REFRESHED``; only
            ``SOURCE`` for a network without BatchNorm or a sample of one image.
        head: head of the base model.
        forward: multiply-adds of one image's forward pass.
        refreshed: buffers of the network under refreshed statistics, by state-dict key.
        cpu_seconds: CPU-seconds of the passes, by state of the statistics.
    """

    samples: Samples
    head: Head
    forward: float
    refreshed: dict[str, Tensor]
    cpu_seconds: dict[str, float]


def observe(classifier: Classifier, examples: Examples, *, labelled: bool, seed: int) -> Observation:
    """Run the forward passes over a sample; the network's buffers are restored at the end.

    Args:
        classifier: classifier with the base model's weights, on its device.
        examples: images of the sample.
        labelled: whether their labels may be used.
        seed: seed of the draw of the batches that refresh the statistics.

    Raises:
        BadInput: if the head is more than one linear layer, or the network's outputs are not finite.
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
    """Run one forward pass over a sample with the network's present weights and statistics.

    Args:
        classifier: the classifier.
        examples: images of the sample.
        head: head that turns the features into the sample's logits.
        labelled: whether their labels may be used.
    """
    with inference_mode_of(classifier.model):
        return _seen_as(features_of(classifier, examples, "fc"), examples, head, labelled=labelled)


def refresh_and_look(
    classifier: Classifier, examples: Examples, head: Head, *, labelled: bool, seed: int, images: int | None = None
) -> Sample:
    """Re-estimate the statistics on a sample, and return features and logits under them.

    A sample that is one large batch needs a single pass: the statistics of the batch, which normalise it, and the
    running statistics kept from it differ only in the variance, which is kept without bias, by less than
    1 / ``LARGE_BATCH``.

    Args:
        classifier: the classifier; it keeps the sample's statistics.
        examples: images of the sample.
        head: head that turns the features into the sample's logits.
        labelled: whether their labels may be used.
        seed: seed of the draw of the batches.
        images: number of images to estimate the statistics on, where the sample is not one large batch; ``None``
            takes all.
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
        classifier: the classifier; if its head has no bias, the given bias is dropped.
        head: new weights and bias of the linear layer.
    """
    layer = classifier.model.head
    layer.weight.copy_(torch.from_numpy(head.weight).reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(torch.from_numpy(head.bias))


def _seen_as(made: Tensor, examples: Examples, head: Head, *, labelled: bool) -> Sample:
    features = made.float().cpu().double().numpy()
    labels = examples.y.cpu().numpy().astype(np.int64) if labelled else None
    return Sample(features, head.logits(features) if np.isfinite(features).all() else features, labels)
