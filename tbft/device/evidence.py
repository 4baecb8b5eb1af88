"""A sample as the remedies and the diagnosis look at it: features and logits under each state of the statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from tbft.device.bundle import Bundle
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.tensors import Tensors
from tbft.errors import BadInput

_CARD = "card."


def examine(network: Network, sample: Sample) -> tuple[Any, Tensors]:
    """What drifted, as ``tbft.diagnosis`` tells it from the sample.

    Args:
        network: the base model.
        sample: at least two pictures.

    Returns:
        A ``tbft.diagnosis.Diagnosis``, and the refreshed statistics that it looked at; empty where there are none.

    Raises:
        BadInput: if the head is no linear layer.
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
    return diagnose(samples, head, _card(network.bundle), forward=forward), refreshed


def solve_head(network: Network, sample: Sample) -> Tensors:
    """The head that the remedy ``head`` solves from a labelled sample, by state-dict key.

    Args:
        network: with the statistics and the blocks with which the head will be used.
        sample: with labels.

    Raises:
        BadInput: if the head is no linear layer.
    """
    from tbft.remedies.head import SolvedHead
    from tbft.remedies.remedy import Fit

    keys, seen, card = head_keys(network.bundle), _see(network, sample), _card(network.bundle)
    solved = SolvedHead().apply(Fit.unchanged(_head(network), card, seen), seen, card).whole.head
    return {keys["weight"]: solved.weight.astype(np.float32), keys["bias"]: solved.bias.astype(np.float32)}


def head_keys(bundle: Bundle) -> dict[str, str]:
    """State-dict keys of the head's weight and bias.

    Raises:
        BadInput: if the head is no linear layer.
    """
    keys = bundle.manifest["head"]
    if keys is None:
        raise BadInput("the head of this model is no linear layer and cannot be solved: use --level input or feature")
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
