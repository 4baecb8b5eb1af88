"""A sample as the remedies and the diagnosis look at it: features and logits under each state of the statistics."""

from __future__ import annotations

import importlib.util
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
        BadInput: if the bundle has no diagnosis, or its head is no linear layer.
    """
    if importlib.util.find_spec("tbft.diagnosis") is None:
        raise BadInput("this bundle has no diagnosis: name the level (--level input, feature or output)")
    from tbft.diagnosis import diagnose
    from tbft.remedies import REFRESHED, SOURCE, Head
    from tbft.remedies import Sample as Seen

    def seen(through: Network) -> Seen:
        features, logits = through.run(sample.pixels)
        return Seen(features.astype(np.float64), logits.astype(np.float64), sample.labels)

    keys = head_keys(network.bundle)
    samples = {SOURCE: seen(network)}
    refreshed: Tensors = {}
    if network.can_refresh and len(sample) > 1:
        refreshed = network.statistics(sample.pixels)
        samples[REFRESHED] = seen(network.with_changes(refreshed))
    head = Head(network.weight(keys["weight"]), network.weight(keys["bias"]))
    forward = float(network.bundle.manifest["multiply_adds"])
    return diagnose(samples, head, _card(network.bundle), forward=forward), refreshed


def head_keys(bundle: Bundle) -> dict[str, str]:
    """State-dict keys of the head's weight and bias.

    Raises:
        BadInput: if the head is no linear layer.
    """
    keys = bundle.manifest["head"]
    if keys is None:
        raise BadInput("the head of this model is no linear layer and cannot be solved: use --level input or feature")
    return dict(keys)


def _card(bundle: Bundle) -> Any:
    from tbft.remedies import SourceCard

    tensors = {name.removeprefix(_CARD): value for name, value in bundle.source.items() if name.startswith(_CARD)}
    if not tensors:
        return None
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in tensors.items()}
    return SourceCard(**fields)
