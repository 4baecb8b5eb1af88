"""Runs by what their strategies have in common, and the best that any of them could have done."""

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
ALWAYS_TRIED = ("refresh + head", "head")  # the second for a network without BatchNorm


@dataclass(frozen=True, order=True)
class Cell:
    """What all strategies of a cell have in common.

    Attributes:
        part: Of the study, such as `development`; empty where it has none.
        images: Target images, labelled but for strategies without labels.
        drift: As the study calls it.
        seed: Draws the images.
    """

    part: str
    images: int
    drift: str
    seed: int


class Cells:
    """The runs of a ledger in which climbs tested in hindsight what they tried.

    Args:
        results: The completed records; without any hindsight among them there are no cells.
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
        """Cells of one row of a table each, in the order of part, images, drift and seed.

        Args:
            key: The row that a cell belongs to.
        """
        rows: dict[tuple[Value, ...], list[Cell]] = defaultdict(list)
        for cell in sorted(self.runs):
            rows[key(cell)].append(cell)
        yield from rows.items()

    @cached_property
    def strategies(self) -> list[str]:
        """All strategies, `none` and always refreshing and solving the head first, full fine-tuning last."""
        found = {name for of in self.runs.values() for name in of} - {NONE}
        return [
            NONE,
            ALWAYS,
            *sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)),
        ]

    def accuracy(self, cell: Cell, strategy: str) -> float | None:
        """Test accuracy, a fraction of 1; that of `none` is the base model's in any run of the cell."""
        if strategy == ALWAYS:
            return self._always(cell)
        own = [record.accuracy["test"] for record in self.runs[cell].get(strategy, ())]
        if own or strategy != NONE:
            return statistics.fmean(own) if own else None
        bases = [r.accuracy["base"] for of in self.runs[cell].values() for r in of if "base" in r.accuracy]
        return statistics.median(bases) if bases else None

    def best(self, cell: Cell) -> float:
        """The best test accuracy of all strategies and of all combinations of remedies without gradients."""
        climbs = [record.climbed for of in self.runs[cell].values() for record in of if record.climbed]
        tried = [value for climb in climbs for value in climb.hindsight.values()]
        return max(known(self.accuracy(cell, name) for name in self.strategies) + tried)

    def _always(self, cell: Cell) -> float | None:
        """Test accuracy of refreshed statistics and a solved head, whatever the evidence; None where untested."""
        climbs = [r.climbed for of in self.runs[cell].values() for r in of if r.climbed and r.climbed.labelled]
        found = [next((c.hindsight[name] for name in ALWAYS_TRIED if name in c.hindsight), None) for c in climbs]
        return next(iter(known(found)), None)

    def better_full(self, cell: Cell) -> float | None:
        """Test accuracy of the better recipe of tuned full fine-tuning; None where none ran."""
        found = [r.accuracy["test"] for of in self.runs[cell].values() for r in of if r.series == TUNED_FULL]
        return max(found, default=None)

    def cpu_seconds(self, cell: Cell, strategy: str) -> float | None:
        """CPU-seconds of the adaptation; None where no run says it."""
        return _median(self.runs[cell].get(strategy, []), adaptation_cpu_seconds)

    def full_cpu_seconds(self, cell: Cell) -> float | None:
        """CPU-seconds of tuned full fine-tuning; None where none ran."""
        runs = [record for of in self.runs[cell].values() for record in of if record.series == TUNED_FULL]
        return _median(runs, adaptation_cpu_seconds)

    def levels(self, drift: str) -> frozenset[str] | None:
        """All that drifted under a drift's name; None where no record says it."""
        runs = (r for cell, of in self.runs.items() if cell.drift == drift for each in of.values() for r in each)
        return next((record.levels for record in runs if record.levels is not None), None)

    def kind(self, drift: str) -> str:
        """Levels of a drift in one word or more: `input + output`."""
        levels = self.levels(drift)
        if levels is None:
            return "unknown"
        return " + ".join(name for name in KINDS if name in levels) or NONE

    def climbs(self, cell: Cell, *, labelled: bool) -> list[Record]:
        """Runs of a cell whose drift nobody named, with labels or without."""
        runs = (record for of in self.runs[cell].values() for record in of)
        return [record for record in runs if record.climbed and record.climbed.labelled == labelled]


def known(values: Iterable[float | None]) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]


KINDS = ("input", "feature", "output", "prior")
"""Levels in the order in which a kind of drift names them."""


def _median(runs: list[Record], metric: Callable[[Record], float | None]) -> float | None:
    found = known(map(metric, runs))
    return statistics.median(found) if found else None
