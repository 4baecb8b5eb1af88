"""Spread and paired differences over a few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty.

    Attributes:
        value: The mean, the median, or the mean difference.
        sd: Sample standard deviation (n - 1); None for one value or a median.
        low: Lower end of the 95 % confidence interval, or None.
        high: Upper end, or None.
        n: How many values it rests on.
        signed: Whether it is a difference, shown with its sign.
        mark: Refers to a note below the table; follows the figure.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 1
    signed: bool = False
    mark: str = ""


def mean_sd(values: Sequence[float]) -> Estimate | None:
    """Mean and sample standard deviation; None of nothing."""
    import statistics

    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), sd=sd, n=len(values))


def median(values: Sequence[float]) -> Estimate | None:
    """Median, which one disturbed repeat of a cost does not move; None of nothing."""
    import statistics

    return Estimate(statistics.median(values), n=len(values)) if values else None


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Mean of paired differences with Student's t interval.

    Args:
        differences: One for each pair, such as each seed.
        confidence: Coverage of the interval.

    Returns:
        The estimate, without an interval for fewer than two pairs; None of no pair.
    """
    import statistics

    if not differences:
        return None
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Estimate(mean, n=n, signed=True)
    from scipy.stats import t

    sd = statistics.stdev(differences)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * sd / math.sqrt(n)
    return Estimate(mean, low=mean - half, high=mean + half, n=n, signed=True)


def saved_interval(ratios: Sequence[float]) -> Estimate | None:
    """Percent saved, from the geometric mean of ratios of costs, with the interval of their logarithms.

    Args:
        ratios: Our cost as a part of theirs, for each pair.

    Returns:
        None of no pair; the median without an interval where something costs nothing, which has no logarithm.
    """
    if ratios and min(ratios) <= 0:
        return median([100 * (1 - ratio) for ratio in ratios])
    logs = paired_interval([math.log(ratio) for ratio in ratios])
    if logs is None:
        return None
    # the larger ratio saves less
    value, low, high = (None if log is None else -100 * math.expm1(log) for log in (logs.value, logs.high, logs.low))
    assert value is not None
    return Estimate(value, low=low, high=high, n=logs.n)
