"""A sample as the remedies and the diagnosis look at it: features and logits under each state of the statistics."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tbft.device.bundle import Bundle
from tbft.device.network import Floats, Network
from tbft.device.pictures import Sample
from tbft.device.tensors import Tensors
from tbft.errors import BadInput
from tbft.remedies import REFRESHED, SOURCE, Head, SourceCard
from tbft.remedies import Sample as Seen
from tbft.remedies.head import SolvedHead
from tbft.remedies.remedy import Fit

_CARD = "card."


@dataclass(frozen=True)
class Observation:
    """Two forward passes over a sample: all that the remedies without gradients take.

    Attributes:
        samples: by state of the BatchNorm statistics; only ``source`` for a network without BatchNorm.
        head: of the base model.
        forward: multiply-adds of one image's forward pass.
        refreshed: statistics as these pictures make them, by state-dict key; empty where there are none.
        cpu_seconds: of the passes, by state of the statistics.
    """

    samples: dict[str, Seen]
    head: Head
    forward: float
    refreshed: Tensors
    cpu_seconds: dict[str, float]


def observe(network: Network, sample: Sample) -> Observation:
    """Look at a sample.

    Args:
        network: the base model.
        sample: at least one picture.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    head, pixels, began = head_of(network), sample.pixels, time.process_time()
    samples = {SOURCE: seen_as(*network.run(pixels), sample)}
    refreshed: Tensors = {}
    spent = {SOURCE: time.process_time() - began}
    if network.can_refresh and len(sample) > 1:
        refreshed, features, logits = network.refreshed(pixels)
        samples[REFRESHED] = seen_as(features, logits, sample)
        spent[REFRESHED] = time.process_time() - began - spent[SOURCE]
    return Observation(samples, head, float(network.bundle.manifest["multiply_adds"]), refreshed, spent)


def solve_head(network: Network, sample: Sample) -> Tensors:
    """The head that the remedy ``head`` solves from a labelled sample, by state-dict key.

    Args:
        network: with the statistics and the blocks with which the head will be used.
        sample: with labels.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    head, card = head_of(network), card_of(network.bundle)
    seen = seen_as(*network.run(sample.pixels), sample)
    return tensors_of(SolvedHead().apply(Fit.unchanged(head, card, seen), seen, card).whole.head, network.bundle)


def tensors_of(head: Head, bundle: Bundle) -> Tensors:
    """A head by state-dict key.

    Raises:
        BadInput: if the bundle's head is not one linear layer.
    """
    keys = head_keys(bundle)
    return {keys["weight"]: head.weight.astype(np.float32), keys["bias"]: head.bias.astype(np.float32)}


def head_keys(bundle: Bundle) -> dict[str, str]:
    """State-dict keys of the head's weight and bias.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    keys = bundle.manifest["head"]
    if keys is None:
        raise BadInput(
            "the head of this model is not one linear layer, and cannot be solved: use --level input or feature"
        )
    return dict(keys)


def seen_as(features: Floats, logits: Floats, sample: Sample) -> Seen:
    """What the remedies take for a sample."""
    return Seen(features.astype(np.float64), logits.astype(np.float64), sample.labels)


def head_of(network: Network) -> Head:
    """The head as it is now.

    Raises:
        BadInput: if it is not one linear layer.
    """
    keys = head_keys(network.bundle)
    return Head(network.weight(keys["weight"]), network.weight(keys["bias"]))


def card_of(bundle: Bundle) -> SourceCard:
    """What the bundle knows of the source, its moments aside."""
    tensors = {name.removeprefix(_CARD): value for name, value in bundle.source.items() if name.startswith(_CARD)}
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in tensors.items()}
    return SourceCard(**fields)
