"""Exact tests and intervals for counts and for paired answers, in numpy and the standard library.

Where an exact distribution has no closed form (multinomial counts, the largest of several correlated gains), it is
sampled with a fixed seed; ``p = (1 + at least as extreme) / (1 + draws)`` is valid for any number of draws (Phipson
and Smyth 2010, arXiv:1603.05766).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from tbft.remedies.sample import Bools, Floats, Ints

DRAWS = 4999
"""Samples of a null distribution: p-values down to 1 / 5000."""

CONFIDENCE = 0.95
"""Coverage of every interval."""

POWER = 0.8
"""With which a gain is to be seen where labels are asked for."""

_BISECTIONS = 60
_AT_ONCE = 500  # samples held in memory: 4 MB for 1,000 images


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def below(self, goal: float) -> Interval:
        """What is missing to a goal, with its interval."""
        return Interval(goal - self.value, goal - self.high, goal - self.low)


@dataclass(frozen=True)
class Gain:
    """What a change brings on the same images, as a fraction of 1.

    Attributes:
        interval: accuracy after minus accuracy before, with its 95 % interval.
        p: one-sided: how likely so many more images right than wrong are if the change brings nothing.
        better: images right after, wrong before.
        worse: images wrong after, right before.
    """

    interval: Interval
    p: float
    better: int
    worse: int


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """P(X >= successes) of a binomial X."""
    if successes <= 0:
        return 1.0
    if successes > trials or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    k = np.arange(successes, trials + 1)
    logs = _log_choose(trials, k) + k * math.log(probability) + (trials - k) * math.log1p(-probability)
    return min(1.0, float(np.exp(logs).sum()))


def sign_test(better: int, worse: int) -> float:
    """How likely a change that brings nothing makes so many more images right than wrong.

    Of the images on which two classifiers differ, each is then as likely to be right: one-sided p of McNemar's exact
    test (McNemar 1947, Psychometrika 12; recommended for two classifiers on one test set by Dietterich 1998, Neural
    Computation 10). 1 where nothing differs.

    Args:
        better: images that only the changed classifier gets right.
        worse: images that only the unchanged one gets right.
    """
    return binomial_tail(better, better + worse, 0.5)


def clopper_pearson(successes: int, trials: int) -> Interval:
    """Exact 95 % confidence interval of a proportion (Clopper and Pearson 1934).

    Raises:
        ValueError: without a trial.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no proportion")
    half = (1 - CONFIDENCE) / 2
    low = _solve(lambda p: binomial_tail(successes, trials, p) < half) if successes else 0.0
    high = _solve(lambda p: binomial_tail(successes + 1, trials, p) < 1 - half) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def wilson(proportion: float, trials: int) -> Interval:
    """95 % score interval of a proportion (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = (proportion + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(proportion * (1 - proportion) / trials + (z / (2 * trials)) ** 2)
    return Interval(proportion, max(0.0, centre - half), min(1.0, centre + half))


def paired_gain(before: Bools, after: Bools) -> Gain:
    """Compare two classifiers on the same images.

    The test is ``sign_test``; the interval is Newcombe's for paired proportions (1998, Statistics in Medicine 17,
    method 10).

    Args:
        before: whether each image is right ``(N,)``.
        after: likewise after the change.
    """
    n = len(before)
    both, better, worse = (int((a & b).sum()) for a, b in ((before, after), (~before, after), (before, ~after)))
    neither = n - both - better - worse
    p = sign_test(better, worse)
    first, second = (wilson((both + one) / n, n) for one in (better, worse))
    margins = (both + better) * (worse + neither) * (both + worse) * (better + neither)
    phi = (both * neither - better * worse) / math.sqrt(margins) if margins else 0.0
    gain = (better - worse) / n
    up, down = first.high - first.value, first.value - first.low
    other_up, other_down = second.high - second.value, second.value - second.low
    low = gain - math.sqrt(max(0.0, down**2 - 2 * phi * down * other_up + other_up**2))
    high = gain + math.sqrt(max(0.0, up**2 - 2 * phi * up * other_down + other_down**2))
    return Gain(Interval(gain, max(-1.0, low), min(1.0, high)), p, better, worse)


def fewer_than(right: int, images: int, accuracy: float, of: int | None = None) -> float:
    """One-sided p of an accuracy that is not below another.

    Args:
        right: images right.
        images: of so many.
        accuracy: the accuracy to be compared with, a fraction of 1.
        of: images that it was measured on (Fisher's exact test); ``None`` takes it as known (binomial test).
    """
    if of is None:
        return binomial_tail(images - right, images, 1 - accuracy)
    total, all_right = images + of, right + round(accuracy * of)
    k = np.arange(max(0, all_right - of), right + 1)
    logs = _log_choose(images, k) + _log_choose(of, all_right - k) - _log_choose(total, np.array(all_right))
    return min(1.0, float(np.exp(logs).sum()))


def counts_differ(counts: Ints, probabilities: Floats) -> float:
    """Whether counts are drawn from a multinomial distribution: p of the likelihood ratio, sampled.

    Args:
        counts: of each class ``(C,)``.
        probabilities: of each class ``(C,)``, summing to 1.
    """
    n = int(counts.sum())
    if n == 0:
        return 1.0
    if counts[probabilities <= 0].any():
        return 1 / (1 + DRAWS)
    rng = np.random.default_rng(0)
    null = rng.multinomial(n, probabilities / probabilities.sum(), size=DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [np.where(k > 0, k * np.log(k / (n * probabilities)), 0.0).sum(axis=-1) for k in (null, counts)]
    extreme = int((ratios[0] >= ratios[1] - 1e-9).sum())
    return (1 + extreme) / (1 + DRAWS)


def largest_gains(differences: Floats, draws: int = DRAWS) -> Floats:
    """p-values of several gains on the same images, corrected for how many there are.

    Under the null hypothesis that no change matters, the sign of an image's differences is as likely to be the
    other one, for all changes at once. The largest standardised sum over the flipped signs is the null distribution
    of every gain (Westfall and Young 1993), which is less strict than Holm's correction where changes resemble each
    other.

    Args:
        differences: of each change on each image, such as right after minus right before ``(K, N)``.
        draws: samples of the null distribution.

    Returns:
        One-sided p of each change ``(K,)``.
    """
    moved = (differences != 0).any(axis=0)
    if not moved.any():
        return np.ones(len(differences))
    d = differences[:, moved].astype(np.float64)
    scale = np.sqrt((d * d).sum(axis=1))
    d = d / np.where(scale > 0, scale, 1.0)[:, None]
    rng = np.random.default_rng(0)
    largest = np.empty(draws)
    for start in range(0, draws, _AT_ONCE):
        part = largest[start : start + _AT_ONCE]
        flips = rng.integers(0, 2, size=(len(part), d.shape[1]), dtype=np.int8) * 2.0 - 1
        part[:] = (flips @ d.T).max(axis=1)
    observed = d.sum(axis=1)
    extreme = (largest[:, None] >= observed - 1e-9).sum(axis=0)
    return np.asarray((1 + extreme) / (1 + draws), np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def rank_test(low: Floats, high: Floats) -> float:
    """One-sided p that the first values are not smaller than the second (Mann and Whitney 1947).

    The normal approximation with the correction for ties; exact enough from about 8 values in each.
    """
    n, m = len(low), len(high)
    values = np.concatenate([low, high])
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - (sizes**3 - sizes).sum() / (total * (total - 1)))
    return NormalDist().cdf((u - n * m / 2 + 0.5) / math.sqrt(variance)) if variance > 0 else 1.0


def labels_needed(gain: float, differing: float, level: float = 0.05) -> int | None:
    """Labels that a paired test needs to see a gain with ``POWER`` (Connor 1987, Biometrics 43).

    Args:
        gain: accuracy after minus before.
        differing: share of the images on which the two differ.
        level: of the one-sided test.

    Returns:
        ``None`` if there is no gain to be seen.
    """
    if gain <= 0 or differing <= 0:
        return None
    z_level, z_power = NormalDist().inv_cdf(1 - level), NormalDist().inv_cdf(POWER)
    spread = max(differing - gain**2, 0.0)
    return math.ceil(((z_level * math.sqrt(differing) + z_power * math.sqrt(spread)) / gain) ** 2)


def _solve(below: Callable[[float], bool]) -> float:
    """The point in 0 to 1 up to which a monotonic condition holds."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


@cache
def _log_factorials(largest: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])


def _log_choose(n: int, k: Ints) -> Floats:
    table = _log_factorials(n)
    return np.asarray(table[n] - table[k] - table[n - k], np.float64)
