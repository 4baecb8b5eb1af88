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

DISTURBED = "*"  # after a figure that rests on runs beside other programs


@dataclass(frozen=True)
class Cost:
    """A figure of a run that is better when smaller.

    Attributes:
        metric: Takes it from a record.
        of_machine: Whether it is the whole machine's, and so counts what other programs did meanwhile; a figure of the
            process is disturbed only where several threads waited for one another beside other programs.
    """

    metric: Metric
    of_machine: bool

    def undisturbed(self, record: Record) -> float | None:
        """The figure, unless other programs are in it."""
        return None if (record.disturbed if self.of_machine else record.inflated) else self.metric(record)


CPU_SECONDS = Cost(adaptation_cpu_seconds, of_machine=False)
JOULES = Cost(adaptation_joules, of_machine=True)
PROCESS_CPU_SECONDS = Cost(process_cpu_seconds, of_machine=False)
PROCESS_JOULES = Cost(process_joules, of_machine=True)


def cost_of(results: Results, setting: Setting, series: str, cost: Cost) -> Estimate | None:
    """Median cost of a strategy over its drifts and seeds, of undisturbed runs where there are any."""
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
    """What a strategy saves of an opponent's cost, in %, over pairs of undisturbed runs where there are any.

    Args:
        results: The completed records.
        setting: The row.
        series: The strategy.
        opponent: The other; nothing is saved of a strategy's own cost.
        cost: What is saved.
        pairs: Only these; all where there are none.
    """
    if series == opponent:
        return None
    (ours, theirs), mark = _columns(results, setting, [series, opponent], cost, pairs)
    return _marked(saved_interval(clusters_of(ratios(ours, theirs))), mark)


def undisturbed(runs: Sequence[Record]) -> list[Record]:
    """Runs whose cost can be used: those beside no other program, or all where there is none such."""
    usable = [run for run in runs if not run.void]
    return [run for run in usable if not run.disturbed] or usable


def _columns(
    results: Results, setting: Setting, names: Sequence[str], cost: Cost, pairs: frozenset[Pair] = frozenset()
) -> tuple[list[Column], str]:
    """A cost of strategies, and the mark of what other programs are in."""
    clean = [at(pairs, results.by_pair(setting, name, cost.undisturbed)) for name in names]
    if set[Pair](clean[0]).intersection(*clean):
        return clean, ""
    every = [at(pairs, results.by_pair(setting, name, cost.metric)) for name in names]
    return every, DISTURBED if set[Pair](every[0]).intersection(*every) else ""


def _marked(estimate: Estimate | None, mark: str) -> Estimate | None:
    return replace(estimate, mark=mark) if estimate else None
