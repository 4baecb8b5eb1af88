"""Runs grouped by drift, number of images and seed, and the best accuracy in hindsight in each group."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from tbft.study.reporting.record import Record
from tbft.study.reporting.results import ORDER, Results, adaptation_cpu_seconds
from tbft.study.reporting.table import Value

NONE = "none"
PART = "part"
TUNED_FULL = "tuned-full"
ALWAYS = "always refresh + head"
ALWAYS_TRIED = ("refresh + head", "head")  # the second one for networks without BatchNorm


@dataclass(frozen=True, order=True)
class Cell:
    """What the runs of all strategies in a group have in common.

    Attributes:
        part: Part of the study, such as `development`; empty if it has none.
        images: Number of target images, labelled except for strategies without labels.
        drift: The study's name of the drift.
        seed: Seed by which the images are drawn.
    """

    part: str
    images: int
    drift: str
    seed: int


class Cells:
    """The runs of a ledger in which climbs measured the test accuracy of what they tried (`ladder.hindsight`).

    Args:
        results: The completed records; if none of them has hindsight, there are no cells.
    """

    def __init__(self, results: Results) -> None:
        runs: dict[Cell, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        seen = any(record.climbed and record.climbed.hindsight for record in results.records)
        for record in results.records if seen else ():
            drift = record.labels.get("drift") or record.drift
            cell = Cell(record.labels.get(PART, ""), record.train_size, drift, record.seed)
            runs[cell][record.labels.get("strategy") or record.series].append(record)
        self.runs = {cell: dict(of) for cell, of in runs.items()}

    def grouped(self, key: Callable[[Cell], tuple[Value, ...]]) -> Iterator[tuple[tuple[Value, ...], list[Cell]]]:
        """Yield the key and the cells of each row of a table, in the order of part, images, drift and seed.

        Args:
            key: A function that returns the row that a cell belongs to.
        """
        rows: dict[tuple[Value, ...], list[Cell]] = defaultdict(list)
        for cell in sorted(self.runs):
            rows[key(cell)].append(cell)
        yield from rows.items()

    @cached_property
    def strategies(self) -> list[str]:
        """All strategies: first `none` and `ALWAYS`, then the others in the order of `ORDER`."""
        found = {name for of in self.runs.values() for name in of} - {NONE}
        return [
            NONE,
            ALWAYS,
            *sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)),
        ]

    def accuracy(self, cell: Cell, strategy: str) -> float | None:
        """Return the mean test accuracy of a strategy in a cell, a fraction of 1; None if it did not run.

        If `none` did not run, its accuracy is the median of the base models' accuracies in all runs of the cell.
        """
        if strategy == ALWAYS:
            return self._always(cell)
        own = [record.accuracy["test"] for record in self.runs[cell].get(strategy, ())]
        if own or strategy != NONE:
            return statistics.fmean(own) if own else None
        bases = [r.accuracy["base"] for of in self.runs[cell].values() for r in of if "base" in r.accuracy]
        return statistics.median(bases) if bases else None

    def best(self, cell: Cell) -> float:
        """Return the best test accuracy of all strategies and of all combinations of remedies without gradients."""
        climbs = [record.climbed for of in self.runs[cell].values() for record in of if record.climbed]
        tried = [value for climb in climbs for value in climb.hindsight.values()]
        return max(known(self.accuracy(cell, name) for name in self.strategies) + tried)

    def _always(self, cell: Cell) -> float | None:
        """Return the test accuracy of refreshed statistics and a solved head, kept or not; None if not tested."""
        climbs = [r.climbed for of in self.runs[cell].values() for r in of if r.climbed and r.climbed.labelled]
        found = [next((c.hindsight[name] for name in ALWAYS_TRIED if name in c.hindsight), None) for c in climbs]
        return next(iter(known(found)), None)

    def better_full(self, cell: Cell) -> float | None:
        """Return the test accuracy of the best run of tuned full fine-tuning in a cell; None if none ran."""
        found = [r.accuracy["test"] for of in self.runs[cell].values() for r in of if r.series == TUNED_FULL]
        return max(found, default=None)

    def cpu_seconds(self, cell: Cell, strategy: str) -> float | None:
        """Return the median CPU-seconds of a strategy's adaptation in a cell; None if no run has them."""
        return _median(self.runs[cell].get(strategy, []), adaptation_cpu_seconds)

    def full_cpu_seconds(self, cell: Cell) -> float | None:
        """Return the median CPU-seconds of tuned full fine-tuning in a cell; None if none ran."""
        runs = [record for of in self.runs[cell].values() for record in of if record.series == TUNED_FULL]
        return _median(runs, adaptation_cpu_seconds)

    def levels(self, drift: str) -> frozenset[str] | None:
        """Return all levels that drifted under a drift's name; None if no record says it."""
        runs = (r for cell, of in self.runs.items() if cell.drift == drift for each in of.values() for r in each)
        return next((record.levels for record in runs if record.levels is not None), None)

    def kind(self, drift: str) -> str:
        """Return the levels of a drift as a text, such as `input + output`, `none` or `unknown`."""
        levels = self.levels(drift)
        if levels is None:
            return "unknown"
        return " + ".join(name for name in KINDS if name in levels) or NONE

    def climbs(self, cell: Cell, *, labelled: bool) -> list[Record]:
        """Return the runs of a cell for which nobody named the drift, with or without labels."""
        runs = (record for of in self.runs[cell].values() for record in of)
        return [record for record in runs if record.climbed and record.climbed.labelled == labelled]


def known(values: Iterable[float | None]) -> list[float]:
    """Return the values that are not None."""
    return [value for value in values if value is not None]


KINDS = ("input", "feature", "output", "prior")
"""Levels in the order in which a kind of drift names them."""


def _median(runs: list[Record], metric: Callable[[Record], float | None]) -> float | None:
    found = known(map(metric, runs))
    return statistics.median(found) if found else None
