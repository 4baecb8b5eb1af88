"""Figures by drift and seed, and means over drifts and seeds that strategies have in common."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """The drift and the seed that two runs must have in common to be compared."""

    drift: str
    seed: int


Column = Mapping[Pair, float]
"""By drift and seed: one figure of one strategy."""


def common_pairs(columns: Iterable[Column]) -> frozenset[Pair]:
    """Return drifts and seeds over which the means of a row's columns can be compared.

    They are the largest set of drifts for which some seed has a figure in every column, at all seeds that have this
    whole set: means over different drifts or seeds cannot be compared.

    Args:
        columns: Columns of the row; empty ones are ignored.

    Returns:
        The pairs; empty if the columns have no pair in common.
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
    """Return a column's figures at the given pairs; the whole column if no pairs are given."""
    return {pair: value for pair, value in column.items() if pair in pairs} if pairs else column


def seeds_of(column: Column) -> dict[int, float]:
    """Return for each seed the mean over its drifts, as the paper does; seeds that lack a drift are left out."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for pair in sorted(common_pairs([column]), key=lambda pair: (pair.seed, pair.drift)):
        seeds[pair.seed].append(column[pair])
    return {seed: statistics.fmean(values) for seed, values in seeds.items()}


def per_seed(column: Column) -> list[float]:
    """Return the means of `seeds_of` in the order of the seeds."""
    return list(seeds_of(column).values())


def clusters_of(column: Column) -> list[list[float]]:
    """Group the values of a column for an interval: by drift if there are several, else each seed by itself."""
    clusters: dict[str | int, list[float]] = defaultdict(list)
    by_drift = len({pair.drift for pair in column}) > 1
    for pair in sorted(column, key=lambda pair: (pair.drift, pair.seed)):
        clusters[pair.drift if by_drift else pair.seed].append(column[pair])
    return list(clusters.values())


def basis_of(pairs: Iterable[Pair]) -> str:
    """Say what an interval over `clusters_of` is based on: `5 drifts`, or `3 seeds` of one drift; empty without one."""
    pairs = list(pairs)
    drifts, seeds = {pair.drift for pair in pairs}, {pair.seed for pair in pairs}
    if len(drifts) > 1:
        return f"{len(drifts)} drifts"
    return f"{len(seeds)} seeds" if len(seeds) > 1 else ""


def differences(ours: Column, theirs: Column) -> dict[Pair, float]:
    """Return `ours - theirs` at the pairs that both have."""
    return {pair: ours[pair] - theirs[pair] for pair in ours if pair in theirs}


def ratios(ours: Column, theirs: Column) -> dict[Pair, float]:
    """Return `ours / theirs` at the pairs that both have and where theirs is above zero."""
    return {pair: ours[pair] / theirs[pair] for pair in ours if theirs.get(pair, 0) > 0}
