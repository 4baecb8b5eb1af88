"""Tests and confidence intervals for counts and for paired answers, in numpy and the standard library.

Distributions without a closed form (multinomial counts, the largest of several correlated gains) are sampled with a
fixed seed; ``p = (1 + at least as extreme) / (1 + draws)`` is valid for any number of draws (Phipson and Smyth 2010,
arXiv:1603.05766).
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
"""Samples of a null distribution, for p-values down to 1 / 5000."""

CONFIDENCE = 0.95
"""Coverage of every interval."""

POWER = 0.8
"""Power of the test for which ``labels_needed`` counts labels."""

_LIKELIHOOD_DRAWS = 999
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
        """Return how far the value is below a goal, with its interval."""
        return Interval(goal - self.value, goal - self.high, goal - self.low)


@dataclass(frozen=True)
class Gain:
    """Gain of accuracy by a change of the classifier, on the same images.

    Attributes:
        interval: accuracy after minus accuracy before, a fraction of 1, with its 95 % interval.
        p: one-sided p-value of the null hypothesis that the change gains nothing (``sign_test``).
        better: number of images right after and wrong before.
        worse: number of images wrong after and right before.
    """

    interval: Interval
    p: float
    better: int
    worse: int


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return P(X >= successes) for X ~ Binomial(trials, probability)."""
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
    """Return the one-sided p-value of McNemar's exact test that a change of the classifier gains nothing.

    Under the null hypothesis each of the two classifiers is equally likely to be the right one on the images that only
    one of them gets right (McNemar 1947, Psychometrika 12; recommended for two classifiers on one test set by
    Dietterich 1998, Neural Computation 10). The p-value is 1 if there are no such images.

    Args:
        better: number of images that only the changed classifier gets right.
        worse: number of images that only the unchanged one gets right.
    """
    return binomial_tail(better, better + worse, 0.5)


def clopper_pearson(successes: int, trials: int) -> Interval:
    """Return the exact 95 % confidence interval of a proportion (Clopper and Pearson 1934).

    Raises:
        ValueError: if there are no trials, or the number of successes is impossible.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no proportion")
    half = (1 - CONFIDENCE) / 2
    low = _solve(lambda p: binomial_tail(successes, trials, p) < half) if successes else 0.0
    high = _solve(lambda p: binomial_tail(successes + 1, trials, p) < 1 - half) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def wilson(proportion: float, trials: int) -> Interval:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = (proportion + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(proportion * (1 - proportion) / trials + (z / (2 * trials)) ** 2)
    return Interval(proportion, max(0.0, centre - half), min(1.0, centre + half))


def paired_gain(before: Bools, after: Bools) -> Gain:
    """Return the gain of a change of the classifier, on the same images.

    The test is ``sign_test``; the interval is Newcombe's for paired proportions (1998, Statistics in Medicine 17,
    method 10).

    Args:
        before: whether the unchanged classifier is right on each image ``(N,)``.
        after: whether the changed classifier is right on each image ``(N,)``.
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
    """Return the one-sided p-value of the null hypothesis that the accuracy is not below a reference.

    Args:
        right: number of images that are right.
        images: number of images.
        accuracy: reference accuracy, a fraction of 1.
        of: number of images that the reference was measured on (Fisher's exact test); ``None`` takes the reference as
            exact (binomial test).
    """
    if of is None:
        return binomial_tail(images - right, images, 1 - accuracy)
    total, all_right = images + of, right + round(accuracy * of)
    k = np.arange(max(0, all_right - of), right + 1)
    logs = _log_choose(images, k) + _log_choose(of, all_right - k) - _log_choose(total, np.array(all_right))
    return min(1.0, float(np.exp(logs).sum()))


def counts_differ(counts: Ints, probabilities: Floats) -> float:
    """Return the p-value of the null hypothesis that counts come from a multinomial distribution.

    The test statistic is the likelihood ratio; its null distribution is sampled.

    Args:
        counts: count of each class ``(C,)``.
        probabilities: probability of each class ``(C,)``, summing to 1.
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
    """Return p-values of the gains of several changes on the same images, corrected for the number of changes.

    Under the null hypothesis that no change matters, flipping the sign of an image's differences, for all changes at
    once, is as likely as not. Each draw flips signs at random and takes the largest standardised sum over the changes;
    these largest sums are the null distribution of every gain (Westfall and Young 1993). Where changes resemble each
    other this is less strict than Holm's correction.

    Args:
        differences: difference that each of K changes makes on each image, such as right after minus right before,
            ``(K, N)``.
        draws: number of samples of the null distribution.

    Returns:
        One-sided p-value of each change ``(K,)``.
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


def likelihood_gain(differences: Floats) -> float:
    """Return the one-sided p-value that labels are no more likely under one combination than under another.

    Args:
        differences: log-likelihood of each image's label under the one minus that under the other ``(N,)``.
    """
    return float(largest_gains(differences[None], _LIKELIHOOD_DRAWS)[0])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def rank_test(low: Floats, high: Floats) -> float:
    """Return the one-sided p-value that ``low`` is not stochastically smaller than ``high`` (Mann and Whitney 1947).

    It uses the normal approximation with the correction for ties, which suffices from about 8 values in each.

    Args:
        low: values that are expected to be smaller ``(N,)``.
        high: values to compare with ``(M,)``.
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
    """Return the number of labels for a paired test to detect a gain with ``POWER`` (Connor 1987, Biometrics 43).

    Args:
        gain: accuracy after minus accuracy before, a fraction of 1.
        differing: share of the images that only one of the two classifiers gets right.
        level: level of the one-sided test.

    Returns:
        The number of labels; ``None`` if there is no gain to detect.
    """
    if gain <= 0 or differing <= 0:
        return None
    z_level, z_power = NormalDist().inv_cdf(1 - level), NormalDist().inv_cdf(POWER)
    spread = max(differing - gain**2, 0.0)
    return math.ceil(((z_level * math.sqrt(differing) + z_power * math.sqrt(spread)) / gain) ** 2)


def _solve(below: Callable[[float], bool]) -> float:
    """Return the point in 0 to 1 up to which a monotonic condition holds, by bisection."""
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
