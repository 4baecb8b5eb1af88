"""What a weights file may hold: tensors that a network can compute with, and a description that fits them."""

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
"""Smallest and largest side of the images that a network is built for, in pixels."""

_FLOATING = ("weight", "bias", "running_mean", "running_var")


class Description(NamedTuple):
    """What a file's metadata say of the model; empty, or ``None``, where they do not.

    Attributes:
        classes: names in label order.
        image_size: side of the images, in pixels.
        mean, std: normalisation of the images.
        probe: logits of one fixed image.
    """

    classes: tuple[str, ...]
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    probe: tuple[float, ...]


def usable_weights(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in fp32; counters and index tables as they are.

    Args:
        path: file that they are from, for messages.
        weights: tensors by state-dict key, floating-point ones of any precision.

    Raises:
        BadInput: naming the first tensor that is complex, quantized, sparse, empty, without memory of its own, made
            of integers though a weight, not finite, or a negative variance.
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
    """Why a network cannot have this tensor, apart from its values."""
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
    """Make sure that no NaN and no infinity is passed on.

    Raises:
        FloatingPointError: naming the first tensor that holds one.
    """
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"the weights are not finite (first in {key}) and are not saved: training diverged, give a smaller "
                "learning rate"
            )


def read_description(path: Path, metadata: Mapping[str, str], num_classes: int | None) -> Description:
    """What a file says of its model, made sure of.

    Args:
        path: the file, for messages.
        metadata: text by name, as safetensors keeps it; ``classes``, ``mean`` and ``std`` are JSON lists.
        num_classes: outputs of the network; ``None`` if the file does not tell.

    Raises:
        BadInput: if the metadata are of another kind, or contradict the network.
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
    """A list in a file's metadata; empty if the file does not say."""
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
