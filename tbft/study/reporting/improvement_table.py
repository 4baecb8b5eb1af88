"""Improvement of TBFT over Block Avg, the paper's headline figure."""

import statistics
from collections.abc import Mapping, Sequence

from tbft.study.reporting.intervals import Estimate, mean_sd, paired_interval
from tbft.study.reporting.pairs import at, common_pairs, differences, per_seed, seeds_of
from tbft.study.reporting.paper import paper_block, paper_figures
from tbft.study.reporting.results import Results, Setting, accuracy_on_test, level_mean
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import HEAD, counts, head, paper_head, paper_notes, paper_sizes, percent

Gains = Mapping[Setting, Mapping[int, float]]
"""Improvement in points by setting and seed."""


def improvement_table(results: Results) -> Table:
    """TBFT's accuracy over that of a mean block, in points; means weigh the levels alike."""
    rows: list[tuple[Value, ...]] = []
    gains: dict[Setting, Mapping[int, float]] = {}
    for setting in results.settings():
        target = results.target(setting)
        average = results.block_average(setting, accuracy_on_test)
        if target is None or not average:
            continue
        ours = results.by_pair(setting, target, accuracy_on_test)
        shared = common_pairs([ours, average])
        if not shared:
            continue
        gain = gains[setting] = seeds_of(at(shared, differences(ours, average)))
        means = (mean_sd(percent(per_seed(at(shared, column)))) for column in (ours, average))
        rows.append((OURS, *head(setting), target, *means, paired_interval(percent(gain.values())), len(gain)))
        rows += _paper_row(setting)
    sizes = sorted({setting.train_size for setting in gains})
    for size in sizes:
        rows += _mean_rows({setting: gain for setting, gain in gains.items() if setting.train_size == size}, size)
    if len(sizes) > 1:
        rows += _mean_rows(gains, None)
    if rows:
        overall = paper_figures()["headline"]["accuracy_over_block_avg"]
        rows.append((PAPER, "all", "its three", None, "", "block", None, None, Estimate(overall, signed=True), None))
    return Table(
        "improvement",
        "Improvement of TBFT over Block Avg (points of test accuracy)",
        (*HEAD, "TBFT", "accuracy %", "Block Avg %", "improvement", "seeds"),
        tuple(rows),
        (
            "Block Avg is the mean over the single blocks. A row of all levels is the mean over the levels, each the "
            "mean over its data sets and sizes; the paper's row below it is of the same levels and sizes.",
            "[low, high]: 95 % confidence interval of the paired differences over seeds (Student's t), where there "
            "are two.",
            *paper_notes(rows),
        ),
    )


def _mean_rows(gains: Gains, size: int | None) -> list[tuple[Value, ...]]:
    """Mean over the levels, where there are several, and the paper's of the same levels and sizes."""
    if len({setting.level for setting in gains}) < 2 or any(setting.variant for setting in gains):
        return []
    shared = set.intersection(*(set(gain) for gain in gains.values()))
    by_seed = [_mean({setting: gain[seed] for setting, gain in gains.items()}) for seed in sorted(shared)]
    ours = _mean({setting: statistics.fmean(gain.values()) for setting, gain in gains.items()})
    interval = paired_interval(percent(by_seed))
    complete = all(set(gain) == shared for gain in gains.values())
    estimate = interval if complete else Estimate(100 * ours, signed=True)
    seeds = counts(map(len, gains.values()))
    rows: list[tuple[Value, ...]] = [(OURS, "all", "", size, "", "", None, None, estimate, seeds)]
    paper = {setting: gain for setting in gains if (gain := _paper_gain(setting)) is not None}
    if {setting.level for setting in paper} == {setting.level for setting in gains}:
        rows.append((PAPER, "all", "", size, "", "", None, None, Estimate(_mean(paper), signed=True), None))
    return rows


def _mean(values: Mapping[Setting, float]) -> float:
    mean = level_mean((setting.level, value) for setting, value in values.items())
    assert mean is not None
    return mean


def _paper_row(setting: Setting) -> Sequence[tuple[Value, ...]]:
    paper = paper_sizes(setting).get(setting.train_size)
    if paper is None:
        return []
    means = (Estimate(paper[name][0], sd=paper[name][1]) for name in (paper_block(setting.level), "block_avg"))
    return [(PAPER, *paper_head(setting), "block", *means, Estimate(_paper_gain(setting) or 0.0, signed=True), None)]


def _paper_gain(setting: Setting) -> float | None:
    paper = paper_sizes(setting).get(setting.train_size)
    return paper[paper_block(setting.level)][0] - paper["block_avg"][0] if paper else None
