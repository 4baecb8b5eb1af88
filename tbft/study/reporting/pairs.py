"""Figures by drift and seed, and the means of strategies over the same drifts and seeds."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """What two strategies must share to be compared: the drift and the seed."""

    drift: str
    seed: int


Column = Mapping[Pair, float]
"""One figure of one strategy, by drift and seed."""


def common_pairs(columns: Iterable[Column]) -> frozenset[Pair]:
    """Drifts and seeds on which the columns of a row can rest.

    One set of drifts, the largest that some seed has in every column, at all the seeds that have the whole of it:
    means over other drifts or over other seeds cannot be compared.

    Args:
        columns: Those without a figure do not count.

    Returns:
        Nothing where the columns share no pair.
    """
    filled = [set(column) for column in columns if column]
    drifts: dict[int, set[str]] = defaultdict(set)
    for pair in set.intersection(*filled) if filled else ():
        drifts[pair.seed].add(pair.drift)
    if not drifts:
        return frozenset()

    def worth(chosen: set[str]) -> tuple[int, int, list[str]]:
        return len(chosen), sum(chosen <= each for each in drifts.values()), sorted(chosen)

    whole = max(drifts.values(), key=worth)
    return frozenset(Pair(drift, seed) for seed, each in drifts.items() if whole <= each for drift in whole)


def at(pairs: frozenset[Pair], column: Column) -> Column:
    """A column at some pairs only; the whole of it where there are no such pairs at all."""
    return {pair: value for pair, value in column.items() if pair in pairs} if pairs else column


def seeds_of(column: Column) -> dict[int, float]:
    """Average over the drifts of each seed, as the paper does; seeds that lack a drift are left out."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for pair in sorted(common_pairs([column]), key=lambda pair: (pair.seed, pair.drift)):
        seeds[pair.seed].append(column[pair])
    return {seed: statistics.fmean(values) for seed, values in seeds.items()}


def per_seed(column: Column) -> list[float]:
    """The averages of `seeds_of` in the order of the seeds."""
    return list(seeds_of(column).values())


def clusters_of(column: Column) -> list[list[float]]:
    """Group the values of a column for an interval: by drift where there are several, else each seed by itself."""
    clusters: dict[str | int, list[float]] = defaultdict(list)
    by_drift = len({pair.drift for pair in column}) > 1
    for pair in sorted(column, key=lambda pair: (pair.drift, pair.seed)):
        clusters[pair.drift if by_drift else pair.seed].append(column[pair])
    return list(clusters.values())


def basis_of(pairs: Iterable[Pair]) -> str:
    """Say what an interval of `clusters_of` is over: `5 drifts`, or `3 seeds` of one drift; empty of no interval."""
    pairs = list(pairs)
    drifts, seeds = {pair.drift for pair in pairs}, {pair.seed for pair in pairs}
    if len(drifts) > 1:
        return f"{len(drifts)} drifts"
    return f"{len(seeds)} seeds" if len(seeds) > 1 else ""


def differences(ours: Column, theirs: Column) -> dict[Pair, float]:
    """`ours - theirs` wherever both ran."""
    return {pair: ours[pair] - theirs[pair] for pair in ours if pair in theirs}


def ratios(ours: Column, theirs: Column) -> dict[Pair, float]:
    """`ours / theirs` wherever both ran and theirs is above zero."""
    return {pair: ours[pair] / theirs[pair] for pair in ours if theirs.get(pair, 0) > 0}
