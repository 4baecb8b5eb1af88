"""What adaptation costs: by strategy, and until an accuracy is reached."""

from collections.abc import Iterable, Sequence

from tbft.study.paper import paper_figures
from tbft.study.results import (
    FULL,
    Results,
    adaptation_cpu_seconds,
    adaptation_joules,
    joules_to_accuracy,
    pair_of,
)
from tbft.study.rows import HEAD, cost_notes, energy_kind, head, paper_notes
from tbft.study.savings_table import saving
from tbft.study.statistics import median
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
            saved = [saving(results, setting, name, opponent) for opponent in opponents]
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


def _paper_savings(levels: Iterable[str], opponents: Sequence[str]) -> list[tuple[Value, ...]]:
    """The paper's savings, in the column of the full fine-tuning that is most like its own."""
    like = next((name for name in ("paper-full", "full", "tuned-full") if name in opponents), None)
    rows: list[tuple[Value, ...]] = []
    for level in levels if like else ():
        for block, saved in paper_figures()["saving"].get(level, {}).items():
            named = "Block Avg" if block == "block_avg" else block
            columns = [saved if name == like else None for name in opponents]
            rows.append((PAPER, level, "", None, "", named, None, None, "modelled", *columns))
    return rows
