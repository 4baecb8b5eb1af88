"""Means, medians and confidence intervals over a few drifts and seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

CONFIDENCE = 0.95  # coverage of every interval; the theorem behind `clustered_interval` holds from 0.917 on


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty.

    Attributes:
        value: The mean, the median, or the mean difference.
        sd: Sample standard deviation (n - 1); None for one value, a median or a figure with an interval.
        low: Lower end of the 95 % confidence interval, or None.
        high: Upper end of the 95 % confidence interval, or None.
        n: Number of values that the figure is computed from.
        signed: Whether the figure is a difference, shown with its sign.
        mark: Mark behind the figure, which refers to a note below the table; or empty.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 1
    signed: bool = False
    mark: str = ""


def mean_sd(values: Sequence[float]) -> Estimate | None:
    """Return mean and sample standard deviation; None without values."""
    import statistics

    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), sd=sd, n=len(values))


def median(values: Sequence[float]) -> Estimate | None:
    """Return the median, on which one disturbed repeat has little influence; None without values."""
    import statistics

    return Estimate(statistics.median(values), n=len(values)) if values else None


def paired_interval(differences: Sequence[float]) -> Estimate | None:
    """Return the mean of paired differences with Student's 95 % t interval.

    Args:
        differences: One difference for each pair, such as each seed.

    Returns:
        The estimate, without an interval for a single pair; None without pairs.
    """
    import statistics

    if not differences:
        return None
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Estimate(mean, n=n, signed=True)
    from scipy.stats import t

    sd = statistics.stdev(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return Estimate(mean, low=mean - half, high=mean + half, n=n, signed=True)


def clustered_interval(clusters: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the mean over clusters of their means, with Student's t interval over these means.

    Runs with the same drift are similar, so another drift tells more than another seed. The t interval over the means
    of a few independent clusters has at least its nominal coverage for any variances of the clusters and any
    correlation within a cluster (Ibragimov and Mueller 2010, "t-Statistic Based Correlation and Heterogeneity Robust
    Inference", Journal of Business & Economic Statistics 28(4), 453-468).

    Args:
        clusters: Values of each cluster, none of them empty.

    Returns:
        The estimate, where `n` counts the values of all clusters, without an interval for a single cluster; None
        without clusters.
    """
    import statistics

    estimate = paired_interval([statistics.fmean(cluster) for cluster in clusters])
    return replace(estimate, n=sum(map(len, clusters))) if estimate else None


def stratified_interval(strata: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the mean over independent strata of their means, with Welch's interval (1947; Satterthwaite 1946).

    Args:
        strata: Independent values of each stratum, such as each drift level; none of them empty.

    Returns:
        The estimate, without an interval if a stratum has a single value; None without strata.
    """
    import statistics

    if not strata:
        return None
    mean, n = statistics.fmean(map(statistics.fmean, strata)), sum(map(len, strata))
    if min(map(len, strata)) < 2:
        return Estimate(mean, n=n, signed=True)
    from scipy.stats import t

    variances = [statistics.variance(values) / len(values) for values in strata]
    spread = sum(each**2 / (len(values) - 1) for each, values in zip(variances, strata, strict=True))
    if spread == 0:
        return Estimate(mean, low=mean, high=mean, n=n, signed=True)
    error = math.sqrt(sum(variances)) / len(strata)
    half = float(t.ppf((1 + CONFIDENCE) / 2, sum(variances) ** 2 / spread)) * error
    return Estimate(mean, low=mean - half, high=mean + half, n=n, signed=True)


def saved_interval(clusters: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the percentage saved, from the geometric mean of ratios of costs, with the interval of their logarithms.

    Args:
        clusters: Our cost divided by theirs, for each pair of runs of each cluster (see `clustered_interval`).

    Returns:
        The estimate; the median without an interval if a ratio is 0, which has no logarithm; None without pairs.
    """
    ratios = [ratio for cluster in clusters for ratio in cluster]
    if ratios and min(ratios) <= 0:
        return median([100 * (1 - ratio) for ratio in ratios])
    logs = clustered_interval([[math.log(ratio) for ratio in cluster] for cluster in clusters])
    if logs is None:
        return None
    # A larger ratio saves less, so the ends of the interval change places.
    value, low, high = (None if log is None else -100 * math.expm1(log) for log in (logs.value, logs.high, logs.low))
    assert value is not None
    return Estimate(value, low=low, high=high, n=logs.n)
