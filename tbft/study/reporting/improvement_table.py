"""The table of the improvement of TBFT over Block Avg, the paper's headline figure."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tbft.study.reporting.intervals import Estimate, clustered_interval, mean_sd, stratified_interval
from tbft.study.reporting.pairs import (
    Column,
    Pair,
    at,
    basis_of,
    clusters_of,
    common_pairs,
    differences,
    per_seed,
    seeds_of,
)
from tbft.study.reporting.paper import paper_block, paper_figures
from tbft.study.reporting.provenance import provenance_notes
from tbft.study.reporting.results import ADAPTIVE, Results, Setting, accuracy_on_test, level_mean
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import (
    HEAD,
    INTERVAL_NOTE,
    counts,
    head,
    paper_head,
    paper_notes,
    paper_sizes,
    percent,
    percent_of,
)

Gains = Mapping[Setting, Column]
"""By setting, and by drift and seed: the improvement, a fraction of 1."""


def improvement_table(results: Results) -> Table:
    """Make the table of TBFT's accuracy less Block Avg's, in points; means give each level the same weight."""
    rows: list[tuple[Value, ...]] = []
    gains: dict[str, dict[Setting, Column]] = defaultdict(dict)  # by the name that TBFT has in means over levels
    for setting in results.settings():
        average = results.block_average(setting, accuracy_on_test)
        found = {name: results.by_pair(setting, name, accuracy_on_test) for name in results.targets(setting)}
        compared = {name: shared for name, ours in found.items() if (shared := common_pairs([ours, average]))}
        for target, shared in compared.items() if average else ():
            gain = at(shared, differences(found[target], average))
            gains[ADAPTIVE if target == ADAPTIVE else ""][setting] = gain
            means = (mean_sd(percent(per_seed(at(shared, column)))) for column in (found[target], average))
            interval = clustered_interval(percent_of(clusters_of(gain)))
            rows.append((OURS, *head(setting), target, *means, interval, basis_of(gain), len(seeds_of(gain))))
        rows += _paper_row(setting) if average and compared else ()
    for target, by_setting in gains.items():
        sizes = sorted({setting.train_size for setting in by_setting})
        for size in sizes:
            alike = {setting: gain for setting, gain in by_setting.items() if setting.train_size == size}
            rows += _mean_rows(target, alike, size)
        if len(sizes) > 1:
            rows += _mean_rows(target, by_setting, None)
    if rows:
        overall = paper_figures()["headline"]["accuracy_over_block_avg"]
        rows.append(
            (PAPER, "all", "its three", None, "", "block", None, None, Estimate(overall, signed=True), "", None)
        )
    return Table(
        "improvement",
        "Improvement of TBFT over Block Avg (points of test accuracy)",
        (*HEAD, "TBFT", "accuracy %", "Block Avg %", "improvement", "interval over", "seeds"),
        tuple(rows),
        (
            "Block Avg is the mean over the single blocks. A row of all levels is the mean over the levels, each the "
            "mean over its data sets and sizes; the paper's row below it is of the same levels and sizes.",
            INTERVAL_NOTE,
            "Of a mean over levels: Welch's interval of the levels' own (Satterthwaite's degrees of freedom).",
            *provenance_notes(results.records),
            *paper_notes(rows),
        ),
    )


def _mean_rows(target: str, gains: Gains, size: int | None) -> list[tuple[Value, ...]]:
    """Make the row of the mean over levels, if there are several, and the paper's row of the same levels and sizes."""
    if len({setting.level for setting in gains}) < 2 or any(setting.variant for setting in gains):
        return []
    value = 100 * _mean({setting: statistics.fmean(gain.values()) for setting, gain in gains.items()})
    interval = stratified_interval(percent_of(_strata(gains)))
    # If data sets or sizes of a level have different drifts or seeds, the interval's strata have another mean.
    known = interval is not None and math.isclose(interval.value, value, abs_tol=1e-9)
    estimate = interval if known else Estimate(value, signed=True)
    seeds = counts(len(seeds_of(gain)) for gain in gains.values())
    rows: list[tuple[Value, ...]] = [(OURS, "all", "", size, "", target, None, None, estimate, "", seeds)]
    paper = {setting: gain for setting in gains if (gain := _paper_gain(setting)) is not None}
    if target != ADAPTIVE and {setting.level for setting in paper} == {setting.level for setting in gains}:
        rows.append((PAPER, "all", "", size, "", "", None, None, Estimate(_mean(paper), signed=True), "", None))
    return rows


def _strata(gains: Gains) -> list[list[float]]:
    """Return for each level its gains by drift, or by seed if it has one drift, averaged over data sets and sizes."""
    levels: dict[str, dict[Pair, list[float]]] = defaultdict(lambda: defaultdict(list))
    for setting, gain in gains.items():
        for pair, value in gain.items():
            levels[setting.level][pair].append(value)
    columns = [{pair: statistics.fmean(values) for pair, values in level.items()} for level in levels.values()]
    return [[statistics.fmean(cluster) for cluster in clusters_of(column)] for column in columns]


def _mean(values: Mapping[Setting, float]) -> float:
    mean = level_mean((setting.level, value) for setting, value in values.items())
    assert mean is not None
    return mean


def _paper_row(setting: Setting) -> Sequence[tuple[Value, ...]]:
    paper = paper_sizes(setting).get(setting.train_size)
    if paper is None:
        return []
    means = (Estimate(paper[name][0], sd=paper[name][1]) for name in (paper_block(setting.level), "block_avg"))
    return [
        (PAPER, *paper_head(setting), "block", *means, Estimate(_paper_gain(setting) or 0.0, signed=True), "", None)
    ]


def _paper_gain(setting: Setting) -> float | None:
    paper = paper_sizes(setting).get(setting.train_size)
    return paper[paper_block(setting.level)][0] - paper["block_avg"][0] if paper else None
