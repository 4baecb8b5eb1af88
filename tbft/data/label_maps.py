"""Output-level drift: what the labels mean changes, the pictures do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tbft.errors import BadInput


def label_map(spec: str | Sequence[int], num_classes: int) -> Tensor:
    """The new label of each old one.

    Args:
        spec: ``flip`` (y -> C - 1 - y, CIFAR-Flip), ``rotate`` or ``rotate:K`` (y -> y + K modulo C),
            ``shuffle:SEED`` (a permutation drawn from the seed in which no class keeps its label), or the
            new labels themselves, one for each class.
        num_classes: C.

    Returns:
        int64 tensor ``(C,)`` with values in ``0 .. C - 1``.

    Raises:
        BadInput: if the specification is unknown or does not name a label for each class.
    """
    identity = torch.arange(num_classes)
    if not isinstance(spec, str):
        new = torch.as_tensor(list(spec))
        if new.shape != (num_classes,) or new.min() < 0 or new.max() >= num_classes:
            raise BadInput(f"label map {list(spec)} must give each of the {num_classes} classes a label below {num_classes}")
        return new
    name, _, argument = spec.partition(":")
    try:
        number = int(argument) if argument else None
    except ValueError:
        raise BadInput(f"label map {spec!r}: {argument!r} is not a whole number") from None
    if name == "flip" and number is None:
        return identity.flip(0)
    if name == "rotate":
        return (identity + (1 if number is None else number)) % num_classes
    if name == "shuffle" and num_classes > 1:
        rng = np.random.default_rng(number or 0)
        while True:
            new = torch.as_tensor(rng.permutation(num_classes))
            if not (new == identity).any():
                return new
    raise BadInput(f"unknown label map {spec!r}: choose flip, rotate:K, shuffle:SEED or a list of {num_classes} labels")
