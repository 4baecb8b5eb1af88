"""Costs of strategies, and the share that one strategy saves of another's cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tbft.study.reporting.intervals import Estimate, median, saved_interval
from tbft.study.reporting.pairs import Column, Pair, at, clusters_of, ratios
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import (
    Metric,
    Results,
    Setting,
    adaptation_cpu_seconds,
    adaptation_joules,
    process_cpu_seconds,
    process_joules,
)

DISTURBED = "*"  # mark of a figure from runs beside other programs


@dataclass(frozen=True)
class Cost:
    """A figure of a run that is better when smaller.

    Attributes:
        metric: A function that takes the figure from a record.
        of_machine: Whether the figure is the whole machine's and so includes what other programs used at the same time.
            A figure of the process alone is disturbed only if several threads waited for one another beside other
            programs.
    """

    metric: Metric
    of_machine: bool

    def undisturbed(self, record: Record) -> float | None:
        """Return the figure of a record, or None if other programs disturbed it."""
        return None if (record.disturbed if self.of_machine else record.inflated) else self.metric(record)


CPU_SECONDS = Cost(adaptation_cpu_seconds, of_machine=False)
JOULES = Cost(adaptation_joules, of_machine=True)
PROCESS_CPU_SECONDS = Cost(process_cpu_seconds, of_machine=False)
PROCESS_JOULES = Cost(process_joules, of_machine=True)


def cost_of(results: Results, setting: Setting, series: str, cost: Cost) -> Estimate | None:
    """Return the median cost of a strategy over its drifts and seeds, from undisturbed runs if there are any.

    If there are none, the figure carries the mark `DISTURBED`.
    """
    ((column,), mark) = _columns(results, setting, [series], cost)
    return _marked(median(list(column.values())), mark)


def saving(
    results: Results,
    setting: Setting,
    series: str,
    opponent: str,
    cost: Cost,
    pairs: frozenset[Pair] = frozenset(),
) -> Estimate | None:
    """Return how much of an opponent's cost a strategy saves, in %, from pairs of undisturbed runs if there are any.

    If there are none, the figure carries the mark `DISTURBED`.

    Args:
        results: The completed records.
        setting: The setting of the runs.
        series: The strategy.
        opponent: The strategy that it is compared with; None is returned if it is the same one.
        cost: The cost to compare.
        pairs: Drifts and seeds to use; all if empty.
    """
    if series == opponent:
        return None
    (ours, theirs), mark = _columns(results, setting, [series, opponent], cost, pairs)
    return _marked(saved_interval(clusters_of(ratios(ours, theirs))), mark)


def undisturbed(runs: Sequence[Record]) -> list[Record]:
    """Return the runs that ran beside no other program, or all runs if there are none; void runs are left out."""
    usable = [run for run in runs if not run.void]
    return [run for run in usable if not run.disturbed] or usable


def _columns(
    results: Results, setting: Setting, names: Sequence[str], cost: Cost, pairs: frozenset[Pair] = frozenset()
) -> tuple[list[Column], str]:
    """Return a cost of each strategy by drift and seed, and a mark if they have only disturbed runs in common."""
    clean = [at(pairs, results.by_pair(setting, name, cost.undisturbed)) for name in names]
    if set[Pair](clean[0]).intersection(*clean):
        return clean, ""
    every = [at(pairs, results.by_pair(setting, name, cost.metric)) for name in names]
    return every, DISTURBED if set[Pair](every[0]).intersection(*every) else ""


def _marked(estimate: Estimate | None, mark: str) -> Estimate | None:
    return replace(estimate, mark=mark) if estimate else None
