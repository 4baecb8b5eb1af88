"""Write and read the source card in a weights file's metadata: one line of JSON, with arrays as fp32 in base64."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tbft.errors import BadInput
from tbft.remedies.card import Moments, SourceCard

KEY = "source_card"
"""Key of the card in a file's metadata."""

_MOST_BYTES = 50_000
"""Largest size of one array of the card, apart from the moments. A larger array (the confusion of 1,000 classes) is
left out, so that a card stays near 100 kB. Moments have up to 100 kB more, limited by ``measure_moments``."""

_MOST_CONFIDENCES = 500
_VERSION = 1
_ARRAYS = ("prior", "confusion", "confidences", "class_means", "covariance")
_SYMMETRIC = ("covariance", "moments_covariance")


def card_to_text(card: SourceCard) -> str:
    """Return a card as text; arrays that are too large are left out."""
    confidences = card.confidences
    if confidences is not None and len(confidences) > _MOST_CONFIDENCES:
        confidences = np.quantile(confidences, np.linspace(0, 1, _MOST_CONFIDENCES))
    arrays: dict[str, Any] = {name: getattr(card, name) for name in _ARRAYS} | {"confidences": confidences}
    said: dict[str, Any] = {
        "version": _VERSION,
        "accuracy": card.accuracy,
        "images": card.images,
        "temperature": card.temperature,
    }
    if card.moments is not None:
        arrays |= {"moments_mean": card.moments.mean, "moments_covariance": card.moments.covariance}
        said["neighbourhood"] = card.moments.neighbourhood
    for name, array in arrays.items():
        if array is None:
            continue
        packed = _packed(np.asarray(array), name)
        if packed.nbytes <= _MOST_BYTES or name.startswith("moments"):
            said[name] = {"shape": list(np.shape(array)), "fp32": base64.b64encode(packed.tobytes()).decode()}
    return json.dumps({name: value for name, value in said.items() if value is not None})


def card_from_text(path: Path, text: str, num_classes: int | None) -> SourceCard:
    """Read a card.

    Args:
        path: file that holds the card, for messages.
        text: text that ``card_to_text`` wrote.
        num_classes: number of outputs of the network that the card describes; ``None`` if not known yet.

    Raises:
        BadInput: if the text is no card, or the card belongs to another network.
    """
    try:
        return _read(json.loads(text), num_classes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error) if isinstance(error, _ContradictionError) else "it is damaged"
        raise BadInput(
            f"{path} has a source card that cannot be used ({reason}): measure it again with python -m tbft card"
        ) from None


class _ContradictionError(ValueError):
    """A readable card whose contents are contradictory."""


def _read(said: Any, num_classes: int | None) -> SourceCard:
    if said["version"] != _VERSION:
        raise _ContradictionError(f"it is of version {said['version']!r}, and this tbft reads {_VERSION}")
    arrays = {
        name: _unpacked(said[name], name) for name in (*_ARRAYS, "moments_mean", "moments_covariance") if name in said
    }
    classes = num_classes if num_classes is not None else next((len(arrays[n]) for n in ("prior",) if n in arrays), 0)
    shapes: dict[str, tuple[int, ...]] = {"prior": (classes,), "confusion": (classes, classes)}
    if "class_means" in arrays:
        features = arrays["class_means"].shape[-1]
        shapes |= {"class_means": (classes, features), "covariance": (features, features)}
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise _ContradictionError(f"its {name} has the shape {list(arrays[name].shape)} and not {list(shape)}")
    of_card: dict[str, Any] = {name: arrays[name] for name in _ARRAYS if name in arrays}
    card = SourceCard(
        accuracy=_number(said, "accuracy", 0, 1),
        images=None if said.get("images") is None else int(said["images"]),
        temperature=_number(said, "temperature", 1e-6, 1e6) or 1.0,
        **of_card,
    )
    if not {"moments_mean", "moments_covariance"} <= set(arrays):
        return card
    mean, covariance = arrays["moments_mean"], arrays["moments_covariance"]
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise _ContradictionError(f"its moments have the shapes {list(mean.shape)} and {list(covariance.shape)}")
    return replace(card, moments=Moments(mean, covariance, int(said["neighbourhood"])))


def _number(said: dict[str, Any], name: str, low: float, high: float) -> float | None:
    if said.get(name) is None:
        return None
    value = float(said[name])
    if not (math.isfinite(value) and low <= value <= high):
        raise _ContradictionError(f"its {name} is {value:g}")
    return value


def _packed(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array as little-endian fp32; of a symmetric matrix only the upper triangle."""
    kept = array[np.triu_indices(len(array))] if name in _SYMMETRIC else array
    return np.ascontiguousarray(kept, "<f4")


def _unpacked(said: dict[str, Any], name: str) -> np.ndarray:
    shape = tuple(int(side) for side in said["shape"])
    values = np.frombuffer(base64.b64decode(said["fp32"], validate=True), "<f4").astype(np.float64)
    if not np.isfinite(values).all():
        raise _ContradictionError(f"its {name} holds numbers that are not finite")
    if name not in _SYMMETRIC:
        return values.reshape(shape)
    side, other = shape
    if side != other or len(values) != side * (side + 1) // 2:
        raise _ContradictionError(f"its {name} has the shape {list(shape)} and {len(values)} numbers")
    whole = np.zeros(shape)
    whole[np.triu_indices(side)] = values
    return whole + np.triu(whole, 1).T
