"""What the remedies and the diagnosis need of a sample: features and logits under each state of the statistics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.device.bundle import Bundle
from tbft.device.network import Floats, Forward, Network
from tbft.device.pictures import Sample
from tbft.device.tensors import Tensors
from tbft.errors import BadInput
from tbft.remedies import REFRESHED, SOURCE, Head, SourceCard
from tbft.remedies import Sample as Seen
from tbft.remedies.combinations import candidates
from tbft.remedies.enough_images import FIRST_OF_EACH, solve_from_enough
from tbft.remedies.sample import correct

_CARD = "card."


@dataclass(frozen=True)
class Observation:
    """Result of two forward passes over a sample: all that the remedies without gradients need.

    Attributes:
        samples: the sample by state of the BatchNorm statistics; only ``source`` for a network without BatchNorm.
        head: head of the base model.
        forward: multiply-adds of one image's forward pass.
        refreshed: statistics estimated on these pictures, by state-dict key; empty without BatchNorm.
        cpu_seconds: CPU-seconds of the passes, by state of the statistics.
    """

    samples: dict[str, Seen]
    head: Head
    forward: float
    refreshed: Tensors
    cpu_seconds: dict[str, float]


def observe(network: Network, sample: Sample) -> Observation:
    """Run the base model on a sample, under its own statistics and under refreshed ones.

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


@dataclass(frozen=True)
class SolvedHead:
    """A head that was solved from labelled pictures.

    Attributes:
        weights: weight and bias by state-dict key.
        remedies: names of the remedies that made it, such as ``("relabel", "head")``; ``("keep",)`` for the old one.
        logits: logits of the validation images ``(N, C)``.
    """

    weights: Tensors
    remedies: tuple[str, ...]
    logits: NDArray[np.float64]


def solve_head(forward: Forward, network: Network, train: Sample, validation: Seen, seed: int) -> SolvedHead:
    """Solve the head from as few labelled pictures as needed (``solve_from_enough``).

    All combinations of remedies that change the head alone are fitted. The one under which the labels are most likely
    is taken; each picture is judged by a fit that has not seen its label.

    Args:
        forward: opened forward pass of the network.
        network: the network with the statistics and blocks with which the head will be used.
        train: pictures with labels, read as far as they are needed.
        validation: features, logits and labels of the validation pictures.
        seed: seed of the order in which the pictures are taken.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    head, card = head_of(network), card_of(network.bundle)
    assert validation.labels is not None
    order, parts, done = np.random.default_rng(seed).permutation(len(train)), list[Seen](), 0
    labels = validation.labels

    def solve(size: int) -> tuple[SolvedHead, NDArray[np.bool_]]:
        nonlocal done
        part = train.take(order[done:size])
        parts.append(seen_as(*forward(part.pixels), part))
        done = size
        sample = joined(parts)
        assert sample.labels is not None
        tried = [(one.scores(sample.labels).mean(), one) for one in candidates({SOURCE: sample}, head, card)]
        best = max(tried, key=lambda each: each[0])[1]
        solved = best.fit.whole.head
        logits = solved.logits(validation.features)
        return SolvedHead(tensors_of(solved, network.bundle), best.remedies, logits), correct(logits, labels)

    return solve_from_enough(solve, len(train), FIRST_OF_EACH * head.num_classes)[0]


def joined(parts: Sequence[Seen]) -> Seen:
    """Join parts of a labelled sample."""
    return Seen(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "logits", "labels")))


def tensors_of(head: Head, bundle: Bundle) -> Tensors:
    """Return a head's weight and bias by state-dict key.

    Raises:
        BadInput: if the bundle's head is not one linear layer.
    """
    keys = head_keys(bundle)
    return {keys["weight"]: head.weight.astype(np.float32), keys["bias"]: head.bias.astype(np.float32)}


def head_keys(bundle: Bundle) -> dict[str, str]:
    """Return the state-dict keys of the head's ``weight`` and ``bias``.

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
    """Return features, logits and labels of a sample in the form that the remedies take."""
    return Seen(features.astype(np.float64), logits.astype(np.float64), sample.labels)


def head_of(network: Network) -> Head:
    """Return the network's present head.

    Raises:
        BadInput: if it is not one linear layer.
    """
    keys = head_keys(network.bundle)
    return Head(network.weight(keys["weight"]), network.weight(keys["bias"]))


def card_of(bundle: Bundle) -> SourceCard:
    """Return the bundle's source card, without the front block's moments."""
    tensors = {name.removeprefix(_CARD): value for name, value in bundle.source.items() if name.startswith(_CARD)}
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in tensors.items()}
    return SourceCard(**fields)
