"""Split images into training, validation and test parts: stratified, seeded and disjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbft.errors import BadInput

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions of the training, validation and test images in a domain; no image is in two parts."""

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
    """Split as on a device: ``train_size`` labelled images in all, some of them for validation, the rest for tests.

    Args:
        labels: class index of each image ``(N,)``.
        train_size: number of labelled images that the device has, validation included; ``None`` takes 80 % of the
            images outside the data set's own parts, or all of them if there is ``own_test`` or ``test_size`` is 0.
        validation: share of the labelled images that is used for validation.
        seed: seed that draws the images.
        test_size: number of test images; ``None`` takes all that are left, 0 none.
        own_validation: positions of the data set's own validation part; all of ``train_size`` then train.
        own_test: positions of the data set's own test part, from which the test images are then taken.

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
    """Draw the test images from those that are left.

    Args:
        left: positions of the images to draw from.
        labels: class index of each image ``(N,)``.
        test_size: number of test images; ``None`` takes all of ``left``.
        seed: seed of the split; the draw itself uses ``seed + 1``.

    Raises:
        BadInput: if there are too few.
    """
    if test_size is None:
        return left
    if test_size > len(left):
        raise BadInput(f"there are {len(left)} images to test on: a data.test_size of {test_size} is too large")
    return draw(left, labels, test_size, seed + 1)[0]


def paper_split(labels: Indices, train_size: int | None, seed: int, *, pool: Indices | None = None) -> Split:
    """Split as in the paper: 15 % of the images for validation, 15 % for tests, ``train_size`` of the rest to train.

    Validation and test images are the same for every training size (paper, section 4.1).

    Args:
        labels: class index of each image ``(N,)``.
        train_size: number of training images; ``None`` is 10 % of the images.
        seed: seed that draws the images.
        pool: positions of the images to split; ``None`` splits all.

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
    """Draw a stratified sample: each class in proportion to its share of the pool.

    Unlike scikit-learn's splitters this holds bounds for rare classes too.

    Args:
        pool: positions of the images to draw from.
        labels: class index of each image ``(N,)``.
        size: number of images to draw.
        seed: seed of the draw.
        of_each: least number of images to draw of each class; all of a class that has fewer.
        leave: least number of images to leave of each class.

    Returns:
        Positions of the drawn images and of the rest, both sorted.

    Raises:
        BadInput: if the bounds cannot be held.
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
    """Return the number of images of each class: proportional, rounded by largest remainder, within the bounds.

    Args:
        counts: number of images of each class.
        size: number of images in all.
        least: smallest number of each class.
        most: largest number of each class.
        rng: random number generator that breaks ties.
    """
    exact = counts * (size / max(counts.sum(), 1)) + rng.random(len(counts)) * 1e-9
    shares = np.floor(exact).astype(np.int64).clip(least, most)
    while (short := size - int(shares.sum())) != 0:
        step = 1 if short > 0 else -1
        free = shares < most if step > 0 else shares > least
        shares[np.where(free, (exact - shares) * step, -np.inf).argmax()] += step
    return shares


def outside(labels: Indices, *parts: Indices | None) -> Indices:
    """Return the positions of the images that are in none of the parts, sorted."""
    taken = [part for part in parts if part is not None]
    everything = np.arange(len(labels))
    return np.setdiff1d(everything, np.concatenate(taken)) if taken else everything
