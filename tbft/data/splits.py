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
    labels: Indices,
    train_size: int | None,
    validation: float,
    seed: int,
    test_size: int | None = None,
    *,
    own_validation: Indices | None = None,
    own_test: Indices | None = None,
) -> Split:
    """What a device has: ``train_size`` labelled images in all, of which a part validates.

    Args:
        labels: class of each image ``(N,)``.
        train_size: labelled images that the device has, validation included; ``None`` takes 80 % of N, or
            all where there is an own test part.
        validation: share of them that validates.
        seed: draws the images.
        test_size: images to test on; ``None`` is all that are left, 0 none.
        own_validation: images that the data set itself sets aside to validate; then all of ``train_size`` train.
        own_test: likewise to test.

    Raises:
        BadInput: if there are fewer images than asked for, or too few for each class.
    """
    pool = outside(labels, own_validation, own_test)
    if train_size is None:
        train_size = len(pool) if own_test is not None or test_size == 0 else int(0.8 * len(pool))
    needed = 0 if own_test is not None else 1 if test_size is None else test_size
    if len(pool) - train_size < needed:
        rest = f", and {needed} must be left to test on" if needed else ""
        raise BadInput(
            f"a training size of {train_size} is larger than the data allows: there are {len(pool)} images{rest}; "
            "give a smaller data.train_size"
        )
    labelled, test = draw(pool, labels, train_size, seed, of_each=1)
    test = draw_test(test if own_test is None else own_test, labels, test_size, seed)
    if own_validation is not None:
        return Split(labelled, own_validation, test)
    chosen, train = draw(labelled, labels, max(round(validation * train_size), 1), seed + 2, leave=1)
    return Split(train, chosen, test)


def draw_test(left: Indices, labels: Indices, test_size: int | None, seed: int) -> Indices:
    """The images to test on, of those that are left; ``None`` takes all.

    Raises:
        BadInput: if there are too few.
    """
    if test_size is None:
        return left
    if test_size > len(left):
        raise BadInput(f"there are {len(left)} images to test on: a data.test_size of {test_size} is too large")
    return draw(left, labels, test_size, seed + 1)[0]


def paper_split(labels: Indices, train_size: int | None, seed: int, *, pool: Indices | None = None) -> Split:
    """The paper's: 15 % of all images validate, 15 % test, ``train_size`` of the other 70 % train.

    Validation and test images are the same for every training size (paper, section 4.1).

    Args:
        labels: class of each image ``(N,)``.
        train_size: images that train; ``None`` is 10 % of all.
        seed: draws the images.
        pool: the images that count as all; ``None`` is every one.

    Raises:
        BadInput: if ``train_size`` is larger than 70 % of the images, or too small for each class.
    """
    pool = outside(labels) if pool is None else pool
    part = round(0.15 * len(pool))
    test, rest = draw(pool, labels, part, seed, leave=1)
    chosen, rest = draw(rest, labels, part, seed + 1, leave=1)
    train_size = round(0.1 * len(pool)) if train_size is None else train_size
    if train_size > len(rest):
        raise BadInput(
            f"a training size of {train_size} is larger than the data allows: there are {len(pool)} images, "
            f"30 % of them validate and test, {len(rest)} are left; give a smaller data.train_size"
        )
    return Split(draw(rest, labels, train_size, seed + 2, of_each=1)[0], chosen, test)


def draw(
    pool: Indices, labels: Indices, size: int, seed: int, *, of_each: int = 0, leave: int = 0
) -> tuple[Indices, Indices]:
    """Draw ``size`` images of ``pool``, of each class its share, and return them and the rest, both sorted.

    Unlike scikit-learn's splitters it keeps a promise for rare classes too: at least ``of_each`` images of
    each class are drawn, and at least ``leave`` of each are left.

    Raises:
        BadInput: if that is not possible.
    """
    classes, counts = np.unique(labels[pool], return_counts=True)
    least, most = np.minimum(of_each, counts), np.maximum(counts - leave, 0)
    if not least.sum() <= size <= most.sum():
        raise BadInput(
            f"{size} of {len(pool)} images cannot be drawn so that each of {len(classes)} classes has "
            + (f"at least {of_each} of them" if size < least.sum() else f"at least {leave} image left to train")
            + ": take more images (data.train_size)"
        )
    rng = np.random.default_rng(seed)
    shares = _shares(counts, size, least, most, rng)
    drawn = [rng.permutation(pool[labels[pool] == c])[:n] for c, n in zip(classes, shares, strict=True)]
    chosen = np.sort(np.concatenate([pool[:0], *drawn]))
    return chosen, np.setdiff1d(pool, chosen)


def _shares(counts: Indices, size: int, least: Indices, most: Indices, rng: np.random.Generator) -> Indices:
    """Images of each class: proportional, rounded by largest remainder, within bounds, ties drawn."""
    exact = counts * (size / max(counts.sum(), 1)) + rng.random(len(counts)) * 1e-9
    shares = np.floor(exact).astype(np.int64).clip(least, most)
    while (short := size - int(shares.sum())) != 0:
        step = 1 if short > 0 else -1
        free = shares < most if step > 0 else shares > least
        shares[np.where(free, (exact - shares) * step, -np.inf).argmax()] += step
    return shares


def outside(labels: Indices, *parts: Indices | None) -> Indices:
    """Positions of the images that are in none of the parts, sorted."""
    taken = [part for part in parts if part is not None]
    everything = np.arange(len(labels))
    return np.setdiff1d(everything, np.concatenate(taken)) if taken else everything
