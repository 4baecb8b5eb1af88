"""TBFT against full fine-tuning: what accuracy it keeps, and what it saves."""

import statistics
from collections.abc import Iterable, Sequence

from tbft.study.pairs import at, common_pairs, differences, per_seed, ratios
from tbft.study.paper import paper_figures
from tbft.study.record import LEVEL_BLOCK
from tbft.study.results import (
    Metric,
    Results,
    Setting,
    accuracy_on_test,
    adaptation_cpu_seconds,
    adaptation_joules,
    level_mean,
    peak_memory,
)
from tbft.study.rows import HEAD, cost_notes, energy_kind, head, paper_notes, percent
from tbft.study.statistics import Estimate, mean_sd, median, paired_interval
from tbft.study.table import OURS, PAPER, Table, Value

COLUMNS = (
    *HEAD,
    "TBFT",
    "against",
    "TBFT %",
    "its %",
    "points",
    "CPU s saved %",
    "joules saved %",
    "energy is",
    "memory ratio",
    "pairs",
)
POINTS, CPU, JOULES = (COLUMNS.index(name) for name in ("points", "CPU s saved %", "joules saved %"))


def savings_table(results: Results) -> Table:
    """Accuracy of TBFT and of each full fine-tuning; CPU time, energy and memory saved, in pairs of runs."""
    rows: list[tuple[Value, ...]] = []
    settings = [setting for setting in results.settings() if results.target(setting) and results.opponents(setting)]
    for index, setting in enumerate(settings):
        target = results.target(setting) or ""
        rows += [_row(results, setting, target, opponent) for opponent in results.opponents(setting)]
        if setting.level not in [later.level for later in settings[index + 1 :]]:
            rows += _paper_row(setting.level)
    rows += _means(rows)
    return Table(
        "savings",
        "TBFT against full fine-tuning: test accuracy, and savings of the whole adaptation",
        COLUMNS,
        tuple(rows),
        (
            "Accuracy: mean ± standard deviation over seeds; points: mean difference, with its 95 % confidence "
            "interval where there are two seeds.",
            "Savings and memory ratio: medians over pairs of runs with the same drift and seed.",
            *(f"{note} Its savings are of one training step." for note in paper_notes(rows)),
            *cost_notes(results.records),
        ),
    )


def saving(
    results: Results, setting: Setting, name: str, opponent: str, metric: Metric = adaptation_joules
) -> Estimate | None:
    """Median over pairs of what a strategy saves of an opponent's cost, in %; None of the opponent itself."""
    if name == opponent:
        return None
    costs = ratios(results.by_pair(setting, name, metric), results.by_pair(setting, opponent, metric))
    return median(percent(1 - ratio for ratio in costs))


def _row(results: Results, setting: Setting, target: str, opponent: str) -> tuple[Value, ...]:
    ours, theirs = (results.by_pair(setting, name, accuracy_on_test) for name in (target, opponent))
    shared = common_pairs([ours, theirs])
    accuracies = (mean_sd(percent(per_seed(at(shared, column)))) for column in (ours, theirs))
    points = paired_interval(percent(per_seed(differences(ours, theirs))))
    saved = (
        saving(results, setting, target, opponent, metric) for metric in (adaptation_cpu_seconds, adaptation_joules)
    )
    kind = energy_kind(results.runs(setting, target) + results.runs(setting, opponent))
    memory = _ratio(results, setting, target, opponent)
    return (OURS, *head(setting), target, opponent, *accuracies, points, *saved, kind, memory, len(shared))


def _ratio(results: Results, setting: Setting, name: str, opponent: str) -> Estimate | None:
    return median(ratios(*(results.by_pair(setting, series, peak_memory) for series in (name, opponent))))


def _paper_row(level: str) -> list[tuple[Value, ...]]:
    """The paper's saving by the level's own block."""
    paper = paper_figures()["saving"].get(level)
    return [_paper(level, "block", paper[LEVEL_BLOCK[level]])] if paper else []


def _means(rows: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Mean over the levels against each opponent, where there are several; the paper's own means below."""
    means: list[tuple[Value, ...]] = []
    levels = {str(row[1]) for row in rows if row[0] == OURS}
    for opponent in dict.fromkeys(row[6] for row in rows if row[0] == OURS):
        ours = [row for row in rows if row[0] == OURS and row[6] == opponent]
        if {row[1] for row in ours} != levels or len(levels) < 2 or any(row[4] for row in ours):
            continue
        points, cpu, joules = (
            _level_mean((str(row[1]), row[index]) for row in ours) for index in (POINTS, CPU, JOULES)
        )
        signed = None if points is None else Estimate(points, signed=True)
        means.append((OURS, "all", "", None, "", "mean", opponent, None, None, signed, cpu, joules, "", None, None))
    if means:
        figures = paper_figures()
        own = [figures["saving"][level][LEVEL_BLOCK[level]] for level in LEVEL_BLOCK if level in levels]
        means.append(_paper("all", "mean", statistics.fmean(own)))
        means.append(_paper("all", "Block Avg", figures["headline"]["energy_saving_vs_full"]))
    return means


def _level_mean(values: Iterable[tuple[str, Value]]) -> float | None:
    return level_mean((level, value.value) for level, value in values if isinstance(value, Estimate))


def _paper(level: str, tuned: str, joules: float) -> tuple[Value, ...]:
    return (PAPER, level, "", None, "", tuned, "full", None, None, None, None, joules, "modelled", None, None)
