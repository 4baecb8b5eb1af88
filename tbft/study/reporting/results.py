"""Records arranged as in the paper's tables: rows are settings, columns are strategies, cells are by drift and seed."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tbft.schema import LEVELS
from tbft.study.reporting.pairs import Column, Pair, at, common_pairs
from tbft.study.reporting.record import PART, Record

SINGLE_BLOCKS = ("block1", "block2", "block3", "block4", "fc")
FULL_FINE_TUNINGS = ("tuned-full", "paper-full", "full")  # the strongest first
TBFT = "TBFT"  # the figures' name of the strategy that tunes the level's block, whatever its name in the records
AMP = "-amp"  # end of the name of an opponent in TBFT's number format: automatic mixed precision where that pays
OPPONENTS = tuple(name + ending for name in FULL_FINE_TUNINGS for ending in ("", AMP))
ADAPTIVE = "auto"  # the strategy that chooses by the sample, without a named drift
ORDER = (
    "none",
    "bn",
    "block",
    ADAPTIVE,
    "auto-unlabelled",
    *SINGLE_BLOCKS,
    "block2+block3",
    "head",
    "refresh+head",
    "auto-rgn",
    *OPPONENTS,
)
AVERAGED_AXES = frozenset({"drift", "seed", "repeat", "strategy", "data.train_size", PART})

Metric = Callable[[Record], float | None]
"""Function that takes one figure from a record; it returns None if the record does not have it."""


@dataclass(frozen=True)
class Setting:
    """A row of the tables, in which strategies are compared.

    Attributes:
        level: Drift level; empty if the records name none.
        dataset: Name of the data set.
        train_size: Number of labelled target images.
        variant: Labels on the axes that tables do not average over, such as `freeze.statistics=refresh`, and what else
            sets the runs apart (see `tbft.study.reporting.apart`).
    """

    level: str
    dataset: str
    train_size: int
    variant: str = ""


def accuracy_on_test(record: Record) -> float | None:
    """Return the test accuracy, a fraction of 1."""
    return record.accuracy["test"]


def accuracy_of_base(record: Record) -> float | None:
    """Return the test accuracy of the base model before any adaptation, a fraction of 1."""
    return record.accuracy.get("base")


def adaptation_joules(record: Record) -> float | None:
    """Return the joules of the whole adaptation; None for a void run."""
    return None if record.void else record.joules.get("adaptation")


def adaptation_cpu_seconds(record: Record) -> float | None:
    """Return the CPU-seconds of the whole adaptation; None for a void run."""
    return None if record.void else record.cpu_seconds.get("adaptation")


def process_joules(record: Record) -> float | None:
    """Return the joules of the whole process without its test; None for a void run."""
    return None if record.void else record.process.get("joules")


def process_cpu_seconds(record: Record) -> float | None:
    """Return the CPU-seconds of the whole process without its test; None for a void run."""
    return None if record.void else record.process.get("cpu_seconds")


def peak_memory(record: Record) -> float | None:
    """Return the peak resident memory in MiB, up to the end of the adaptation."""
    return record.peak_rss_mib


def setting_of(record: Record) -> Setting:
    """Return the row that a record belongs to."""
    variant = [f"{axis}={value}" for axis, value in record.labels.items() if axis not in AVERAGED_AXES]
    return Setting(record.level, record.dataset, record.train_size, ", ".join([*variant, *record.apart]))


def pair_of(record: Record) -> Pair:
    """Return the drift and the seed of a record; the study's name of the drift is preferred to the record's."""
    return Pair(record.labels.get("drift") or record.drift, record.seed)


class Results:
    """The completed records of one or more studies.

    Args:
        records: Completed records.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = tuple(records)

    @cached_property
    def _runs(self) -> dict[tuple[Setting, str], list[Record]]:
        runs = defaultdict(list)
        for record in self.records:
            runs[setting_of(record), record.series].append(record)
        return dict(runs)

    def settings(self) -> list[Setting]:
        """Return the rows in the order of the paper's tables: by level, data set and size."""
        return sorted(
            {setting for setting, _ in self._runs},
            key=lambda s: (_rank(s.level, LEVELS), s.dataset, s.train_size, s.variant),
        )

    def series(self, *settings: Setting) -> list[str]:
        """Return the strategies that ran in any of the settings, in the order of `ORDER`, then unknown ones by name."""
        found = {series for setting, series in self._runs if setting in settings}
        return sorted(found, key=lambda name: (_rank(name, ORDER), name))

    def runs(self, setting: Setting, series: str) -> list[Record]:
        """Return the records of a strategy in a setting."""
        return self._runs.get((setting, series), [])

    def by_pair(self, setting: Setting, series: str, metric: Metric) -> dict[Pair, float]:
        """Return one figure of a strategy by drift and seed: the median over repeats."""
        values = defaultdict(list)
        for record in self.runs(setting, series):
            value = metric(record)
            if value is not None:
                values[pair_of(record)].append(value)
        return {pair: statistics.median(repeats) for pair, repeats in values.items()}

    def accuracies(self, setting: Setting) -> dict[str, Column]:
        """Return each strategy's test accuracies at the drifts and seeds that all share, or all if they share none."""
        found = {name: self.by_pair(setting, name, accuracy_on_test) for name in self.series(setting)}
        shared = common_pairs(found.values())
        return {name: at(shared, column) for name, column in found.items()}

    def level_block(self, setting: Setting) -> str:
        """Return the block that belongs to the level in the network of a setting's runs.

        It is empty if no record says it, or if the runs are of networks with different ones.
        """
        runs = [run for series in self.series(setting) for run in self.runs(setting, series)]
        named = {run.level_block for run in runs if run.level_block}
        return named.pop() if len(named) == 1 else ""

    def target(self, setting: Setting) -> str | None:
        """Return the strategy that is TBFT: the level's own recipe, or else its block; None if neither ran."""
        return next((name for name in ("block", self.level_block(setting)) if self.runs(setting, name)), None)

    def tuned_blocks(self) -> dict[str, str]:
        """Return by level the block that TBFT tunes, for levels at which it is the same block in all settings."""
        blocks: dict[str, set[str]] = defaultdict(set)
        for setting in self.settings():
            blocks[setting.level].add(self.level_block(setting))
        return {level: min(names) for level, names in blocks.items() if len(names) == 1 and names != {""}}

    def targets(self, setting: Setting) -> list[str]:
        """Return the strategies that are ours and ran: that of `target`, and `auto`."""
        adaptive = [ADAPTIVE] if self.runs(setting, ADAPTIVE) else []
        return [name for name in (self.target(setting),) if name] + adaptive

    def label(self, setting: Setting, series: str) -> str:
        """Return the figures' name of a strategy: `TBFT` for that of `target`, the same at every level."""
        return TBFT if series == self.target(setting) else series

    def title(self, setting: Setting, *, size: bool = True) -> str:
        """Return a panel's title: level and data set; on a second line the tuned block, training size and variant.

        Args:
            setting: The setting of the panel.
            size: Whether the title names the training size.
        """
        where = f"{setting.level} level, {setting.dataset}" if setting.level else setting.dataset
        tuned = self.level_block(setting) if self.target(setting) else ""
        images = f"{setting.train_size} images" if size else ""
        which = ", ".join(filter(None, [tuned and f"TBFT tunes {tuned}", images, setting.variant]))
        return "\n".join(filter(None, [where, which]))

    def single_blocks(self, setting: Setting) -> dict[str, str]:
        """Return by single block the strategy that tuned it; the level's own recipe counts if its block did not run."""
        own = self.level_block(setting)
        blocks = {block: block for block in SINGLE_BLOCKS if self.runs(setting, block)}
        if own and own not in blocks and self.runs(setting, "block"):
            blocks[own] = "block"
        return {block: blocks[block] for block in SINGLE_BLOCKS if block in blocks}

    def missing_blocks(self, setting: Setting) -> list[str]:
        """Return the blocks that Block Avg lacks: blocks in the study's plan that did not run yet.

        Outside of a study they are the blocks that ran at the same level and on the same data set in other settings.
        """
        runs = [run for series in self.series(setting) for run in self.runs(setting, series)]
        planned = {name for run in runs for name in run.planned}
        if planned:
            awaited = {self.level_block(setting) if name == "block" else name for name in planned}
        else:
            alike = [s for s in self.settings() if (s.level, s.dataset) == (setting.level, setting.dataset)]
            awaited = {block for other in alike for block in self.single_blocks(other)}
        awaited.intersection_update(SINGLE_BLOCKS)
        return sorted(awaited - set(self.single_blocks(setting))) if len(awaited) > 1 else []

    def block_average(self, setting: Setting, metric: Metric) -> dict[Pair, float]:
        """Return the paper's Block Avg: the mean over the single blocks, at each drift and seed that all of them have.

        It is empty while a block is missing.
        """
        singles = self.single_blocks(setting)
        if len(singles) < 2 or self.missing_blocks(setting):
            return {}
        each = [self.by_pair(setting, series, metric) for series in singles.values()]
        shared = set.intersection(*(set(values) for values in each))
        return {pair: statistics.fmean(values[pair] for values in each) for pair in shared}

    def opponents(self, setting: Setting) -> list[str]:
        """Return the full fine-tunings that ran in a setting, strongest first, each before the one in TBFT's format."""
        return [name for name in OPPONENTS if self.runs(setting, name)]


def level_mean(values: Iterable[tuple[str, float]]) -> float | None:
    """Return the mean over levels of the means within each level, so that each level has the same weight.

    Args:
        values: Level and figure of each row.

    Returns:
        The mean; None without rows.
    """
    levels = defaultdict(list)
    for level, value in values:
        levels[level].append(value)
    return statistics.fmean(map(statistics.fmean, levels.values())) if levels else None


def joules_to_accuracy(record: Record, accuracy: float) -> float | None:
    """Return the joules until validation first reaches an accuracy.

    Args:
        record: Record of the run; if it has no validations on the way (a head in closed form), the final one counts.
        accuracy: The accuracy to reach, a fraction of 1.

    Returns:
        The joules; None if the run never reaches the accuracy, or is void.
    """
    if record.void:
        return None
    if not record.curve:
        return record.joules.get("adaptation") if record.accuracy.get("validation", 0.0) >= accuracy else None
    return next((point.joules for point in record.curve if point.accuracy >= accuracy), None)


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
