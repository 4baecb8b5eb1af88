"""Records in the shape of the paper's tables: rows are settings, columns strategies, pairs drift and seed."""

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
TBFT = "TBFT"  # how figures name the series that tunes the level's block, whatever its name in the records
AMP = "-amp"  # ends the name of an opponent that computes as TBFT does: where that pays, in automatic mixed precision
OPPONENTS = tuple(name + ending for name in FULL_FINE_TUNINGS for ending in ("", AMP))
ADAPTIVE = "auto"  # the strategy for which nobody names the drift
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
"""Takes one figure from a record; None where the record does not have it."""


@dataclass(frozen=True)
class Setting:
    """A row of the tables: what is compared like with like.

    Attributes:
        level: Drift level.
        dataset: Name of the data set.
        train_size: Labelled target images.
        variant: The cell's place on any axis that is not averaged over, such as `freeze.statistics=refresh`, and what
            else sets it apart (see `tbft.study.reporting.apart`).
    """

    level: str
    dataset: str
    train_size: int
    variant: str = ""


def accuracy_on_test(record: Record) -> float | None:
    """Test accuracy, a fraction of 1."""
    return record.accuracy["test"]


def accuracy_of_base(record: Record) -> float | None:
    """Test accuracy of the base model before any adaptation, a fraction of 1."""
    return record.accuracy.get("base")


def adaptation_joules(record: Record) -> float | None:
    """Joules of the whole adaptation; None for a void run."""
    return None if record.void else record.joules.get("adaptation")


def adaptation_cpu_seconds(record: Record) -> float | None:
    """CPU-seconds of the whole adaptation; None for a void run."""
    return None if record.void else record.cpu_seconds.get("adaptation")


def process_joules(record: Record) -> float | None:
    """Joules of the whole process without its test; None for a void run."""
    return None if record.void else record.process.get("joules")


def process_cpu_seconds(record: Record) -> float | None:
    """CPU-seconds of the whole process without its test; None for a void run."""
    return None if record.void else record.process.get("cpu_seconds")


def peak_memory(record: Record) -> float | None:
    """Peak resident memory in MiB, up to the end of the adaptation."""
    return record.peak_rss_mib


def setting_of(record: Record) -> Setting:
    """Tell which row a record belongs to."""
    variant = [f"{axis}={value}" for axis, value in record.labels.items() if axis not in AVERAGED_AXES]
    return Setting(record.level, record.dataset, record.train_size, ", ".join([*variant, *record.apart]))


def pair_of(record: Record) -> Pair:
    """Tell what a record is paired by; a study's own name for the drift comes before the record's."""
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
        """Rows, in the order of the paper's tables: level, data set, size."""
        return sorted(
            {setting for setting, _ in self._runs},
            key=lambda s: (_rank(s.level, LEVELS), s.dataset, s.train_size, s.variant),
        )

    def series(self, *settings: Setting) -> list[str]:
        """Strategies present in any of the settings, the cheap ones first, full fine-tuning last."""
        found = {series for setting, series in self._runs if setting in settings}
        return sorted(found, key=lambda name: (_rank(name, ORDER), name))

    def runs(self, setting: Setting, series: str) -> list[Record]:
        """Records of one cell of the table."""
        return self._runs.get((setting, series), [])

    def by_pair(self, setting: Setting, series: str, metric: Metric) -> dict[Pair, float]:
        """One figure for each drift and seed: the median over repeats."""
        values = defaultdict(list)
        for record in self.runs(setting, series):
            value = metric(record)
            if value is not None:
                values[pair_of(record)].append(value)
        return {pair: statistics.median(repeats) for pair, repeats in values.items()}

    def accuracies(self, setting: Setting) -> dict[str, Column]:
        """Test accuracy of each strategy at the drifts and seeds that all have; all there is where they share none."""
        found = {name: self.by_pair(setting, name, accuracy_on_test) for name in self.series(setting)}
        shared = common_pairs(found.values())
        return {name: at(shared, column) for name, column in found.items()}

    def level_block(self, setting: Setting) -> str:
        """Name the block that belongs to the level in the network of a setting's runs.

        Empty where no record says it, or where the runs are of networks that differ in it.
        """
        runs = [run for series in self.series(setting) for run in self.runs(setting, series)]
        named = {run.level_block for run in runs if run.level_block}
        return named.pop() if len(named) == 1 else ""

    def target(self, setting: Setting) -> str | None:
        """Name the series that is TBFT: the level's own recipe, or else its block; None if neither ran."""
        return next((name for name in ("block", self.level_block(setting)) if self.runs(setting, name)), None)

    def tuned_blocks(self) -> dict[str, str]:
        """Name the block that TBFT tunes at each level at which that is one block in all networks."""
        blocks: dict[str, set[str]] = defaultdict(set)
        for setting in self.settings():
            blocks[setting.level].add(self.level_block(setting))
        return {level: min(names) for level, names in blocks.items() if len(names) == 1 and names != {""}}

    def targets(self, setting: Setting) -> list[str]:
        """Name the series that are TBFT: that of `target`, and the adaptive one; those that ran."""
        adaptive = [ADAPTIVE] if self.runs(setting, ADAPTIVE) else []
        return [name for name in (self.target(setting),) if name] + adaptive

    def label(self, setting: Setting, series: str) -> str:
        """Name a series as figures do, the same at every level: TBFT as such, another by what it tunes."""
        return TBFT if series == self.target(setting) else series

    def title(self, setting: Setting, *, size: bool = True) -> str:
        """Head a panel: what drifted; on a line below, the block that TBFT tunes, the training size and the variant.

        Args:
            setting: What the panel shows.
            size: Whether it shows one training size only.
        """
        where = f"{setting.level} level, {setting.dataset}" if setting.level else setting.dataset
        tuned = self.level_block(setting) if self.target(setting) else ""
        images = f"{setting.train_size} images" if size else ""
        which = ", ".join(filter(None, [tuned and f"TBFT tunes {tuned}", images, setting.variant]))
        return "\n".join(filter(None, [where, which]))

    def single_blocks(self, setting: Setting) -> dict[str, str]:
        """Single blocks with the series that tuned each; the level's own recipe stands in for its block."""
        own = self.level_block(setting)
        blocks = {block: block for block in SINGLE_BLOCKS if self.runs(setting, block)}
        if own and own not in blocks and self.runs(setting, "block"):
            blocks[own] = "block"
        return {block: blocks[block] for block in SINGLE_BLOCKS if block in blocks}

    def missing_blocks(self, setting: Setting) -> list[str]:
        """Blocks that Block Avg waits for: those that are planned, or outside a study ran on the same data set."""
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
        """The paper's Block Avg: the mean over the single blocks, for each pair at which all of them ran.

        Empty while a block is missing.
        """
        singles = self.single_blocks(setting)
        if len(singles) < 2 or self.missing_blocks(setting):
            return {}
        each = [self.by_pair(setting, series, metric) for series in singles.values()]
        shared = set.intersection(*(set(values) for values in each))
        return {pair: statistics.fmean(values[pair] for values in each) for pair in shared}

    def opponents(self, setting: Setting) -> list[str]:
        """Full fine-tunings present in the setting, the strongest first, each before the same one in TBFT's format."""
        return [name for name in OPPONENTS if self.runs(setting, name)]


def level_mean(values: Iterable[tuple[str, float]]) -> float | None:
    """Mean over the levels of the means within each level, so that no level counts for more than another.

    Args:
        values: Level and figure of each row.
    """
    levels = defaultdict(list)
    for level, value in values:
        levels[level].append(value)
    return statistics.fmean(map(statistics.fmean, levels.values())) if levels else None


def joules_to_accuracy(record: Record, accuracy: float) -> float | None:
    """Joules until validation first reaches an accuracy.

    Args:
        record: The run; one without validations on the way (a head in closed form) counts as a whole.
        accuracy: A fraction of 1.

    Returns:
        None if the run never reaches it, or is void.
    """
    if record.void:
        return None
    if not record.curve:
        return record.joules.get("adaptation") if record.accuracy.get("validation", 0.0) >= accuracy else None
    return next((point.joules for point in record.curve if point.accuracy >= accuracy), None)


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
