"""Output-level drift: the meaning of the labels changes, the pictures do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tbft.errors import BadInput


def label_map(spec: str | Sequence[int], num_classes: int) -> Tensor:
    """Return the new label of each old one.

    Args:
        spec: ``flip`` (y -> C - 1 - y, CIFAR-Flip), ``rotate`` or ``rotate:K`` (y -> y + K modulo C, K = 1 by default),
            ``shuffle`` or ``shuffle:SEED`` (a permutation drawn from the seed, 0 by default, in which no class keeps
            its label), or the new labels themselves, one for each class; classes may share a new label.
        num_classes: number of classes C.

    Returns:
        New labels ``(C,)``, int64, from 0 to C - 1.

    Raises:
        BadInput: if the specification is unknown or does not name a label for each class.
    """
    identity = torch.arange(num_classes)
    if not isinstance(spec, str):
        new = list(spec)
        if len(new) != num_classes or not all(0 <= label < num_classes for label in new):
            raise BadInput(
                f"data.label_map {new} must give each of the {num_classes} classes a new label, 0 to {num_classes - 1}"
            )
        return torch.tensor(new, dtype=torch.int64)
    name, _, argument = spec.partition(":")
    try:
        number = int(argument) if argument else None
    except ValueError:
        raise BadInput(f"data.label_map {spec!r}: {argument!r} is not a whole number") from None
    if name == "flip" and number is None:
        return identity.flip(0)
    if name == "rotate":
        return (identity + (1 if number is None else number)) % num_classes
    if name == "shuffle" and num_classes > 1 and (number or 0) >= 0:
        rng = np.random.default_rng(number or 0)
        while True:
            new_labels = torch.as_tensor(rng.permutation(num_classes))
            if not (new_labels == identity).any():
                return new_labels
    raise BadInput(
        f"unknown data.label_map {spec!r}: choose flip, rotate:K, shuffle:SEED (from 0) or a list of "
        f"{num_classes} labels"
    )
