"""Check the contents of a weights file: tensors that a network can use, and metadata that fit them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tbft.errors import BadInput
from tbft.models.probe import KEY as PROBE
from tbft.normalisation import check_normalisation

IMAGE_SIZES = (8, 4096)
"""Smallest and largest image side that a network can be built for, in pixels."""

_FLOATING = ("weight", "bias", "running_mean", "running_var")


class Description(NamedTuple):
    """Metadata of a weights file about its model.

    Attributes:
        classes: class names in the order of the outputs; empty if the file has none.
        image_size: side of the images, in pixels; ``None`` if the file has none.
        mean, std: normalisation of the images, on the scale 0 to 1; empty if the file has none.
        probe: logits of one fixed image (see ``tbft.models.probe``); empty if the file has none.
    """

    classes: tuple[str, ...]
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    probe: tuple[float, ...]


def usable_weights(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check weights and return them in fp32; integer tensors (counters, index tables) stay as they are.

    Args:
        path: file that they are from, for messages.
        weights: tensors by state-dict key, floating-point ones of any precision.

    Raises:
        BadInput: if a tensor is complex, quantized, sparse, empty, without memory of its own or not finite, or a weight
            is made of integers, or a variance is negative; the message names the first such tensor.
    """
    usable = {}
    for key, given in weights.items():
        reason = _unusable(key, given)
        tensor = given.float() if reason is None and given.is_floating_point() else given
        if reason is None and tensor.is_floating_point() and not tensor.isfinite().all():
            reason = "holds numbers that are not finite (NaN or infinity), as diverged training leaves them"
        if reason is None and key.endswith("running_var") and (tensor < 0).any():
            reason = "holds negative variances"
        if reason:
            raise BadInput(f"{path}: {key} {reason}: choose another base model, or save this one again as fp32")
        usable[key] = tensor
    return usable


def _unusable(key: str, tensor: Tensor) -> str | None:
    """Return why a network cannot use this tensor, apart from its values; ``None`` if it can."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_nested:
        kind = "quantized" if tensor.is_quantized else "complex" if tensor.is_complex() else "sparse"
        return f"is {kind}, and weights are dense real numbers"
    if tensor.device.type != "cpu" or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return f"has the shape {list(tensor.shape)} and fewer numbers than that"
    if not tensor.numel():
        return f"is empty (its shape is {list(tensor.shape)})"
    if not tensor.is_floating_point() and key.rpartition(".")[2] in _FLOATING:
        return f"is made of {str(tensor.dtype).removeprefix('torch.')} numbers, and weights are floating-point ones"
    return None


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        FloatingPointError: if there are any; the message names the first such tensor.
    """
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"the weights are not finite (first in {key}) and are not saved: training diverged, give a smaller "
                "learning rate"
            )


def read_description(path: Path, metadata: Mapping[str, str], num_classes: int | None) -> Description:
    """Read and check a file's metadata about its model.

    Args:
        path: the file, for messages.
        metadata: text by name, as safetensors stores it; ``classes``, ``mean`` and ``std`` are JSON lists.
        num_classes: number of outputs of the network; ``None`` if not known.

    Raises:
        BadInput: if an entry has the wrong form, or contradicts the network.
    """
    classes, mean, std = (_listed(path, metadata, name) for name in ("classes", "mean", "std"))
    if not all(isinstance(name, str) and name for name in classes):
        raise BadInput(f"{path} says classes: {_short(metadata['classes'])} in its metadata: write names, as text")
    if classes and num_classes is not None and len(classes) != num_classes:
        raise BadInput(
            f"{path} names {len(classes)} classes in its metadata and its network tells {num_classes} apart: "
            "correct the metadata"
        )
    if mean or std:
        check_normalisation(f"{path} says in its metadata that ", mean or (0.5,), std or (0.5,))
    size, (least, most) = metadata.get("image_size"), IMAGE_SIZES
    if size and not (re.fullmatch(r"[0-9]{1,5}", size) and least <= int(size) <= most):
        raise BadInput(
            f"{path} says image_size: {_short(size)} in its metadata: write the side in pixels ({least} to {most}), "
            "such as 224"
        )
    logits = _listed(path, metadata, PROBE)
    usable = all(isinstance(value, int | float) and math.isfinite(value) for value in logits)
    if not usable or (logits and num_classes is not None and len(logits) != num_classes):
        raise BadInput(f"{path} says {PROBE}: {_short(metadata[PROBE])} in its metadata: save the model again")
    return Description(classes, int(size) if size else None, mean, std, logits)


def _listed(path: Path, metadata: Mapping[str, str], name: str) -> tuple[Any, ...]:
    """Return a list from a file's metadata; empty if there is no such entry."""
    try:
        value = json.loads(metadata.get(name, "[]"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise BadInput(
            f"{path} says {name}: {_short(metadata[name])} in its metadata, which is no JSON list: write it as one, "
            f'such as ["cat", "dog"] or [0.5]'
        )
    return tuple(value)


def _short(text: str) -> str:
    return repr(text if len(text) < 60 else f"{text[:57]}...")
