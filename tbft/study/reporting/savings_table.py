"""The table of TBFT against full fine-tuning: accuracy, and savings of CPU time, energy and memory."""

import statistics
from collections.abc import Mapping, Sequence

from tbft.schema import DEVELOPMENT, HELD_OUT, LEVELS
from tbft.study.reporting.costs import CPU_SECONDS, JOULES, PROCESS_CPU_SECONDS, PROCESS_JOULES, saving
from tbft.study.reporting.intervals import Estimate, clustered_interval, mean_sd, median
from tbft.study.reporting.pairs import at, basis_of, clusters_of, common_pairs, differences, per_seed, ratios
from tbft.study.reporting.paper import paper_block, paper_figures
from tbft.study.reporting.provenance import formats_of, provenance_notes
from tbft.study.reporting.results import ADAPTIVE, AMP, Results, Setting, accuracy_on_test, level_mean, peak_memory
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import (
    HEAD,
    INTERVAL_NOTE,
    cost_notes,
    energy_kind,
    head,
    paper_notes,
    percent,
    percent_of,
)

SAVED = {
    "CPU s saved %": CPU_SECONDS,
    "CPU s saved, whole process %": PROCESS_CPU_SECONDS,
    "joules saved %": JOULES,
    "joules saved, whole process %": PROCESS_JOULES,
}
AVERAGED = ("points", *SAVED)  # columns with a mean over levels
COLUMNS = (
    *HEAD,
    "TBFT",
    "against",
    "formats",
    "TBFT %",
    "its %",
    *AVERAGED,
    "energy is",
    "memory ratio",
    "interval over",
    "pairs",
    "pairs of joules",
)
Row = Mapping[str, Value]
"""Figures by column; missing columns are empty."""


def savings_table(results: Results) -> Table:
    """Make the table of accuracy of TBFT and of each full fine-tuning, and of CPU time, energy and memory saved."""
    rows: list[Row] = []
    settings = [setting for setting in results.settings() if results.targets(setting) and results.opponents(setting)]
    for index, setting in enumerate(settings):
        against = [(target, other) for target in results.targets(setting) for other in results.opponents(setting)]
        rows += [_row(results, setting, target, other) for target, other in against]
        if setting.level not in [later.level for later in settings[index + 1 :]]:
            rows += _paper_row(setting.level)
    if all(row.get("pairs of joules") in (None, row.get("pairs")) for row in rows):
        rows = [{**row, "pairs of joules": None} for row in rows]  # the column would repeat "pairs"
    rows += _means(rows)
    lines = tuple(tuple(row.get(column) for column in COLUMNS) for row in rows)
    return Table(
        "savings",
        "TBFT against full fine-tuning: test accuracy, and savings of the whole adaptation and of the whole process",
        COLUMNS,
        lines,
        (
            "Accuracy: mean ± standard deviation over seeds; points: mean difference; savings: geometric mean over "
            "pairs of runs with the same drift and seed; memory ratio: their median, up to the end of the adaptation.",
            INTERVAL_NOTE,
            *_notes(rows),
            *(f"{note} Its savings are of one training step." for note in paper_notes(lines)),
            *provenance_notes(results.records),
            *cost_notes(results.records),
        ),
    )


def _row(results: Results, setting: Setting, target: str, opponent: str) -> Row:
    both = (target, opponent)
    ours, theirs = (results.by_pair(setting, name, accuracy_on_test) for name in both)
    shared = common_pairs([ours, theirs])
    accuracies = [mean_sd(percent(per_seed(at(shared, column)))) for column in (ours, theirs)]
    saved = {name: saving(results, setting, *both, cost, shared) for name, cost in SAVED.items()}
    runs = [results.runs(setting, name) for name in both]
    formats = list(map(formats_of, runs))
    joules = saved["joules saved %"]
    return {
        **dict(zip(HEAD, (OURS, *head(setting)), strict=True)),
        "TBFT": target,
        "against": opponent,
        "formats": " / ".join(formats) if all(formats) else "",
        "TBFT %": accuracies[0],
        "its %": accuracies[1],
        "points": clustered_interval(percent_of(clusters_of(at(shared, differences(ours, theirs))))),
        **saved,
        "energy is": energy_kind([*runs[0], *runs[1]]),
        "memory ratio": median(
            [*ratios(*(at(shared, results.by_pair(setting, n, peak_memory)) for n in both)).values()]
        ),
        "interval over": basis_of(shared),
        "pairs": len(shared),
        "pairs of joules": joules.n if joules else None,
    }


def _notes(rows: Sequence[Row]) -> list[str]:
    """Explain columns, strategies and variants that only some ledgers have."""
    notes = []
    if any(row.get("CPU s saved, whole process %") for row in rows):
        notes.append(
            "Whole process: from its start to its end, imports and children included, without testing and reading the "
            "test images; joules before and after the meter ran are taken at its mean power. Only of studies with "
            "isolate: true, in which each run has a process of its own."
        )
    if any(str(row.get("against")).endswith(AMP) for row in rows):
        notes.append(
            f"{AMP}: the same opponent in the number format of TBFT (model.number_format cheapest: automatic mixed "
            "precision where the processor multiplies bfloat16)."
        )
    if any(row.get("TBFT") == ADAPTIVE for row in rows):
        notes.append(f"{ADAPTIVE}: nobody names the drift level; the sample decides what is adapted.")
    if any(HELD_OUT in str(row.get("variant")) for row in rows):
        notes.append(f"{DEVELOPMENT}: drifts on which the recipes were found; {HELD_OUT}: on which nothing was tuned.")
    return notes


def _paper_row(level: str) -> list[Row]:
    """Make the row of the paper's saving by the level's own block, if the paper has the level."""
    paper = paper_figures()["saving"].get(level)
    return [_paper(level, "block", paper[paper_block(level)])] if paper else []


def _means(rows: Sequence[Row]) -> list[Row]:
    """Make rows of the mean over levels against each opponent, if there are several levels, and the paper's means."""
    means: list[Row] = []
    ours = [row for row in rows if row["figures"] == OURS and row["level"] in LEVELS]
    levels = {str(row["level"]) for row in ours}
    named = dict.fromkeys((row["TBFT"] == ADAPTIVE, row["against"]) for row in ours)
    for adaptive, opponent in named:
        alike = [row for row in ours if (row["TBFT"] == ADAPTIVE, row["against"]) == (adaptive, opponent)]
        if {row["level"] for row in alike} != levels or len(levels) < 2 or any(row["variant"] for row in alike):
            continue
        figures = {name: _level_mean([(str(row["level"]), row[name]) for row in alike]) for name in AVERAGED}
        tuned = ADAPTIVE if adaptive else "mean"
        means.append({"figures": OURS, "level": "all", "TBFT": tuned, "against": opponent, **figures})
    if means:
        paper = paper_figures()
        own = [paper["saving"][level][paper_block(level)] for level in LEVELS if level in levels]
        means.append(_paper("all", "mean", statistics.fmean(own)))
        means.append(_paper("all", "Block Avg", paper["headline"]["energy_saving_vs_full"]))
    return means


def _level_mean(values: Sequence[tuple[str, Value]]) -> Estimate | None:
    known = [(level, value) for level, value in values if isinstance(value, Estimate)]
    mean = level_mean((level, estimate.value) for level, estimate in known)
    if mean is None or {level for level, _ in known} != {level for level, _ in values}:
        return None
    return Estimate(mean, signed=known[0][1].signed, mark=max(estimate.mark for _, estimate in known))


def _paper(level: str, tuned: str, joules: float) -> Row:
    return {
        **{"figures": PAPER, "level": level, "TBFT": tuned, "against": "full"},
        **{"joules saved %": joules, "energy is": "modelled"},
    }
