"""Which images train, validate and test: stratified, seeded, disjoint, the same whatever the strategy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbft.errors import BadInput

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions of images in a domain; no image is in two parts."""

    train: Indices
    validation: Indices
    test: Indices


def device_split(
    labels: Indices, train_size: int | None, validation: float, seed: int, test_size: int | None
) -> Split:
    """What a device has: ``train_size`` labelled images in all, of which a part validates.

    Args:
        labels: class of each image ``(N,)``.
        train_size: labelled images that the device has, validation included; ``None`` takes 80 % of N.
        validation: share of them that validates.
        seed: draws the images.
        test_size: images to test on, drawn from the rest; ``None`` is all of the rest, 0 none.

    Raises:
        BadInput: if there are fewer images than asked for, or too few for each class.
    """
    if train_size is None:
        train_size = len(labels) if test_size == 0 else int(0.8 * len(labels))
    left = len(labels) - train_size
    if left < (test_size if test_size is not None else 1):
        raise BadInput(
            f"a training size of {train_size} is larger than the data allows: there are {len(labels)} images, "
            f"and {test_size if test_size is not None else 'some'} must be left to test on"
        )
    labelled, rest = _cut(np.arange(len(labels)), labels, train_size, seed, "training")
    test = rest if test_size is None else _cut(rest, labels, test_size, seed + 1, "test")[0]
    held_out = max(round(validation * train_size), 1)
    chosen, train = _cut(labelled, labels, held_out, seed + 2, "validation")
    return Split(train, chosen, test)


def paper_split(labels: Indices, train_size: int, seed: int) -> Split:
    """The paper's: 15 % of all images validate, 15 % test, ``train_size`` of the other 70 % train.

    Validation and test images are the same for every training size (paper, section 4.1).

    Raises:
        BadInput: if ``train_size`` is larger than 70 % of the images, or too small for each class.
    """
    part = round(0.15 * len(labels))
    test, rest = _cut(np.arange(len(labels)), labels, part, seed, "test")
    chosen, rest = _cut(rest, labels, part, seed + 1, "validation")
    if train_size > len(rest):
        raise BadInput(
            f"a training size of {train_size} is larger than the data allows: there are {len(labels)} images, "
            f"30 % of them validate and test, {len(rest)} are left"
        )
    return Split(_cut(rest, labels, train_size, seed + 2, "training")[0], chosen, test)


def _cut(pool: Indices, labels: Indices, size: int, seed: int, what: str) -> tuple[Indices, Indices]:
    """Draw ``size`` of ``pool`` with each class's share, and return them and the rest, both sorted."""
    from sklearn.model_selection import train_test_split  # 0.5 s: only a run that splits pays for it

    if size >= len(pool):
        return pool, pool[:0]
    if size == 0:
        return pool[:0], pool
    classes = len(np.unique(labels[pool]))
    stratify = labels[pool] if size >= classes and len(pool) - size >= classes else None
    if stratify is None and what == "training":
        raise BadInput(f"a {what} size of {size} is too small: there are {classes} classes, each needs an image")
    try:
        chosen, rest = train_test_split(pool, train_size=size, random_state=seed, stratify=stratify)
    except ValueError as error:
        raise BadInput(f"the {what} images cannot be drawn: {error}") from None
    return np.sort(chosen), np.sort(rest)
