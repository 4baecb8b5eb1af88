"""A sample as the remedies and the diagnosis look at it: features and logits under each state of the statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tbft.device.bundle import Bundle
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.tensors import Tensors
from tbft.errors import BadInput

_CARD = "card."


@dataclass(frozen=True)
class Examined:
    """What a sample told.

    Attributes:
        diagnosis: a ``tbft.diagnosis.Diagnosis``.
        samples: features and logits under each state of the statistics.
        refreshed: statistics that were looked at, by state-dict key; empty where there are none.
    """

    diagnosis: Any
    samples: dict[Any, Any]
    refreshed: Tensors


def examine(network: Network, sample: Sample) -> Examined:
    """What drifted, as ``tbft.diagnosis`` tells it from the sample.

    Args:
        network: the base model.
        sample: at least two pictures.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    from tbft.diagnosis import diagnose  # 0.04 CPU-s that only these functions pay for
    from tbft.remedies import REFRESHED, SOURCE

    samples = {SOURCE: _see(network, sample)}
    refreshed: Tensors = {}
    if network.can_refresh and len(sample) > 1:
        refreshed = network.statistics(sample.pixels)
        samples[REFRESHED] = _see(network.with_changes(refreshed), sample)
    head = _head(network)
    forward = float(network.bundle.manifest["multiply_adds"])
    return Examined(diagnose(samples, head, _card(network.bundle), forward=forward), samples, refreshed)


def examine_aligned(network: Network, sample: Sample, before: Examined) -> tuple[Any, bool, str]:
    """Choose again with an aligned front block.

    Args:
        network: aligned, its statistics refreshed, with the head of the base model.
        sample: that was examined.
        before: what it told without the block.

    Returns:
        A ``tbft.remedies.Choice``, whether it takes the place of the one before, and why.
    """
    from tbft.remedies import REFRESHED, SOURCE, choose
    from tbft.remedies.aligned import judge_aligned

    samples = {SOURCE: before.samples[SOURCE], REFRESHED: _see(network, sample)}
    forward = float(network.bundle.manifest["multiply_adds"])
    aligned = choose(samples, _head(network), _card(network.bundle), forward=forward)
    return aligned, *judge_aligned(before.diagnosis.choice, aligned, samples[SOURCE])


def solve_head(network: Network, sample: Sample) -> Tensors:
    """The head that the remedy ``head`` solves from a labelled sample, by state-dict key.

    Args:
        network: with the statistics and the blocks with which the head will be used.
        sample: with labels.

    Raises:
        BadInput: if the head is not one linear layer.
    """
    from tbft.remedies.head import SolvedHead
    from tbft.remedies.remedy import Fit

    keys, seen, card = head_keys(network.bundle), _see(network, sample), _card(network.bundle)
    solved = SolvedHead().apply(Fit.unchanged(_head(network), card, seen), seen, card).whole.head
    return {keys["weight"]: solved.weight.astype(np.float32), keys["bias"]: solved.bias.astype(np.float32)}


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


def _see(network: Network, sample: Sample) -> Any:
    """What the remedies take for a sample."""
    from tbft.remedies import Sample as Seen

    features, logits = network.run(sample.pixels)
    return Seen(features.astype(np.float64), logits.astype(np.float64), sample.labels)


def _head(network: Network) -> Any:
    from tbft.remedies import Head

    keys = head_keys(network.bundle)
    return Head(network.weight(keys["weight"]), network.weight(keys["bias"]))


def _card(bundle: Bundle) -> Any:
    from tbft.remedies import SourceCard

    tensors = {name.removeprefix(_CARD): value for name, value in bundle.source.items() if name.startswith(_CARD)}
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in tensors.items()}
    return SourceCard(**fields)
