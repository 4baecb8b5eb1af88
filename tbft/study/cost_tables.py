"""What adaptation costs: by strategy, until an accuracy is reached, and against full fine-tuning."""

import statistics
from collections.abc import Iterable, Sequence

from tbft.study.paper import paper_figures
from tbft.study.record import LEVEL_BLOCK, Record
from tbft.study.results import (
    FULL,
    Metric,
    Results,
    Setting,
    accuracy_on_test,
    adaptation_cpu_seconds,
    adaptation_joules,
    differences,
    joules_to_accuracy,
    pair_of,
    peak_memory,
    per_seed,
    savings,
)
from tbft.study.rows import HEAD, energy_kind, head, paper_notes, percent
from tbft.study.statistics import Estimate, median, paired_interval
from tbft.study.table import OURS, PAPER, Table, Value


def cost_table(results: Results) -> Table:
    """Cost of one whole adaptation for each strategy, and what it saves against each full fine-tuning."""
    opponents = [name for name in FULL if any(name in results.opponents(s) for s in results.settings())]
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        for name in results.series(setting):
            runs = results.runs(setting, name)
            cpu, joules = (
                median(list(results.by_pair(setting, name, metric).values()))
                for metric in (adaptation_cpu_seconds, adaptation_joules)
            )
            saved = [_saving(results, setting, name, opponent) for opponent in opponents]
            rows.append((OURS, *head(setting), name, cpu, joules, energy_kind(runs), *saved))
    columns = (
        *HEAD,
        "strategy",
        "CPU s",
        "joules",
        "energy is",
        *(f"saved vs {name} %" for name in opponents),
    )
    rows += _paper_savings(dict.fromkeys(s.level for s in results.settings()), opponents)
    notes = ["Medians over drifts, seeds and repeats; savings are medians of paired runs, in joules."]
    notes += [
        f"{note} They are of one training step, its joules seconds times a constant." for note in paper_notes(rows)
    ]
    return Table(
        "cost",
        "Cost of one adaptation (prepare + train + validate + save)",
        columns,
        tuple(rows),
        (*notes, *cost_notes(results.records)),
    )


def energy_to_accuracy_table(results: Results) -> Table:
    """Joules until validation first reaches what full fine-tuning ended with, for each drift and seed."""
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        opponents = results.opponents(setting)
        if not opponents:
            continue
        goals = results.by_pair(setting, opponents[0], lambda record: record.accuracy.get("validation"))
        for name in results.series(setting):
            runs = [run for run in results.runs(setting, name) if run.joules and not run.void]
            paired = [(run, goals.get(pair_of(run))) for run in runs]
            needed = [joules_to_accuracy(run, goal) for run, goal in paired if goal is not None]
            reached = [joules for joules in needed if joules is not None]
            if needed:
                share = f"{len(reached)} of {len(needed)}"
                rows.append((OURS, *head(setting), name, opponents[0], share, median(reached), energy_kind(runs)))
    return Table(
        "energy_to_accuracy",
        "Energy to accuracy (joules until validation first reaches full fine-tuning's)",
        (*HEAD, "strategy", "accuracy of", "runs that reach it", "joules", "energy is"),
        tuple(rows),
        (
            "Median over the runs that reach it; the accuracy to reach is that of the same drift and seed. "
            "A run without validations on the way counts as a whole.",
        ),
    )


def savings_table(results: Results) -> Table:
    """TBFT against full fine-tuning: accuracy kept; CPU time, energy and memory saved."""
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        target = results.target(setting)
        for opponent in results.opponents(setting) if target else ():
            ours, theirs = (results.by_pair(setting, name, accuracy_on_test) for name in (target or "", opponent))
            lost = paired_interval(percent(per_seed(differences(ours, theirs))))
            memory = _ratio(results, setting, target or "", opponent)
            runs = results.runs(setting, target or "") + results.runs(setting, opponent)
            cpu, joules = (
                _saving(results, setting, target or "", opponent, metric)
                for metric in (adaptation_cpu_seconds, adaptation_joules)
            )
            rows.append((OURS, *head(setting), target, opponent, lost, cpu, joules, energy_kind(runs), memory))
        paper = paper_figures()["saving"].get(setting.level)
        if paper and rows and rows[-1][0] == OURS and rows[-1][1] == setting.level:
            saving = paper[LEVEL_BLOCK[setting.level]]
            rows.append((PAPER, setting.level, "", None, "one step", "block", "full", *_paper_saving(saving)))
    rows += _mean_savings(rows)
    return Table(
        "savings",
        "TBFT against full fine-tuning, whole adaptation",
        (
            *HEAD,
            "TBFT",
            "against",
            "accuracy, points",
            "CPU s saved %",
            "joules saved %",
            "energy is",
            "peak memory ratio",
        ),
        tuple(rows),
        (
            *paper_notes(rows),
            "Savings and memory are medians of pairs with the same drift and seed; n in the CSV. "
            "[low, high]: 95 % confidence interval over seeds.",
            *cost_notes(results.records),
        ),
    )


def cost_notes(records: Iterable[Record]) -> list[str]:
    """Warn of what makes costs hard to compare."""
    records = list(records)
    notes = []
    shared = sum(record.shared_machine for record in records)
    if shared:
        notes.append(f"{shared} of {len(records)} runs shared their machine: their cost is too high.")
    machines = sorted({record.machine for record in records if record.machine})
    if len(machines) > 1:
        notes.append(f"Costs come from {len(machines)} machines: {', '.join(machines)}.")
    return notes


def _saving(
    results: Results, setting: Setting, name: str, opponent: str, metric: Metric = adaptation_joules
) -> Estimate | None:
    if name == opponent:
        return None
    saved = savings(results.by_pair(setting, name, metric), results.by_pair(setting, opponent, metric))
    return median(percent(saved))


def _ratio(results: Results, setting: Setting, name: str, opponent: str) -> Estimate | None:
    ours, theirs = (results.by_pair(setting, series, peak_memory) for series in (name, opponent))
    return median([ours[pair] / theirs[pair] for pair in ours if theirs.get(pair)])


def _mean_savings(rows: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Mean saving over the rows against each opponent, and the paper's own mean."""
    means: list[tuple[Value, ...]] = []
    for opponent in dict.fromkeys(row[6] for row in rows if row[0] == OURS):
        ours = [row for row in rows if row[0] == OURS and row[6] == opponent]
        columns = [[v.value for row in ours if isinstance(v := row[index], Estimate)] for index in (7, 8, 9)]
        points, cpu, joules = (statistics.fmean(values) if values else None for values in columns)
        lost = None if points is None else Estimate(points, n=len(columns[0]), signed=True)
        means.append((OURS, "all", "", None, "mean of rows", "", opponent, lost, cpu, joules, "", None))
    if means:
        overall = paper_figures()["headline"]["energy_saving_vs_full"]
        means.append((PAPER, "all", "", None, "one step", "Block Avg", "full", *_paper_saving(overall)))
    return means


def _paper_savings(levels: Iterable[str], opponents: Sequence[str]) -> list[tuple[Value, ...]]:
    """The paper's savings, in the column of the full fine-tuning that is most like its own."""
    like = next((name for name in ("paper-full", "full", "tuned-full") if name in opponents), None)
    rows: list[tuple[Value, ...]] = []
    for level in levels if like else ():
        for block, saving in paper_figures()["saving"].get(level, {}).items():
            named = "Block Avg" if block == "block_avg" else block
            columns = [saving if name == like else None for name in opponents]
            rows.append((PAPER, level, "", None, "one step", named, None, None, "modelled", *columns))
    return rows


def _paper_saving(saving: float) -> tuple[Value, ...]:
    """The paper's saving in the columns of the savings table."""
    return None, None, saving, "modelled", None
