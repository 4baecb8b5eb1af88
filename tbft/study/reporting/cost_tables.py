"""Tables of the cost of an adaptation, and of the energy that it takes to reach an accuracy."""

from collections.abc import Iterable, Sequence
from functools import partial

from tbft.study.reporting.costs import CPU_SECONDS, JOULES, PROCESS_CPU_SECONDS, Cost, cost_of, saving
from tbft.study.reporting.pairs import Column
from tbft.study.reporting.paper import paper_figures
from tbft.study.reporting.provenance import provenance_notes
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import FULL_FINE_TUNINGS, Results, joules_to_accuracy, pair_of
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import HEAD, INTERVAL_NOTE, cost_notes, energy_kind, head, paper_notes


def cost_table(results: Results) -> Table:
    """Make the table of each strategy's cost of one adaptation, and its savings against each full fine-tuning."""
    opponents = [name for name in FULL_FINE_TUNINGS if any(name in results.opponents(s) for s in results.settings())]
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        for name in results.series(setting):
            kind = energy_kind(results.runs(setting, name))
            both = (CPU_SECONDS, JOULES)
            costs = [cost_of(results, setting, name, cost) for cost in both]
            process = cost_of(results, setting, name, PROCESS_CPU_SECONDS)
            saved = [saving(results, setting, name, other, cost) for cost in both for other in opponents]
            rows.append((OURS, *head(setting), name, *costs, kind, process, *saved))
    columns = (
        *HEAD,
        "strategy",
        "CPU s",
        "joules",
        "energy is",
        "CPU s, whole process",
        *(f"{cost} saved vs {name} %" for cost in ("CPU s", "joules") for name in opponents),
    )
    rows += _paper_savings(dict.fromkeys(s.level for s in results.settings()), opponents)
    notes = [
        "Medians over drifts, seeds and repeats; savings: geometric mean over pairs of runs with the same drift and "
        "seed.",
        INTERVAL_NOTE,
    ]
    notes += [
        f"{note} They are of one training step, its joules seconds times a constant." for note in paper_notes(rows)
    ]
    return Table(
        "cost",
        "Cost of one adaptation (prepare + train + validate + save)",
        columns,
        tuple(rows),
        (*notes, *provenance_notes(results.records), *cost_notes(results.records)),
    )


def energy_to_accuracy_table(results: Results) -> Table:
    """Make the table of joules until validation first reaches the final accuracy of the strongest full fine-tuning.

    The accuracy to reach is that of the same drift and seed.
    """
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        opponents = results.opponents(setting)
        if not opponents:
            continue
        goals = results.by_pair(setting, opponents[0], lambda record: record.accuracy.get("validation"))
        needed = Cost(partial(_joules_to_goal, goals), of_machine=True)
        for name in results.series(setting):
            runs = [run for run in results.runs(setting, name) if run.joules and not run.void]
            aimed = [run for run in runs if pair_of(run) in goals]
            if aimed:
                reached = sum(needed.metric(run) is not None for run in aimed)
                figures = (
                    cost_of(results, setting, name, needed),
                    saving(results, setting, name, opponents[0], needed),
                )
                share = f"{reached} of {len(aimed)}"
                rows.append((OURS, *head(setting), name, opponents[0], share, *figures, energy_kind(runs)))
    return Table(
        "energy_to_accuracy",
        "Energy to accuracy (joules until validation first reaches full fine-tuning's)",
        (*HEAD, "strategy", "accuracy of", "runs that reach it", "joules", "joules saved vs it %", "energy is"),
        tuple(rows),
        (
            "Median over the runs that reach it; the accuracy to reach is that of the same drift and seed. "
            "A run without validations on the way counts as a whole.",
            "Saved: geometric mean over the pairs of which both reach it.",
            INTERVAL_NOTE,
            *provenance_notes(results.records),
            *cost_notes(results.records),
        ),
    )


def _joules_to_goal(goals: Column, record: Record) -> float | None:
    goal = goals.get(pair_of(record))
    return None if goal is None else joules_to_accuracy(record, goal)


def _paper_savings(levels: Iterable[str], opponents: Sequence[str]) -> list[tuple[Value, ...]]:
    """Make rows of the paper's savings, in the column of the full fine-tuning that is most similar to the paper's."""
    like = next((name for name in ("paper-full", "full", "tuned-full") if name in opponents), None)
    rows: list[tuple[Value, ...]] = []
    for level in levels if like else ():
        for block, saved in paper_figures()["saving"].get(level, {}).items():
            named = "Block Avg" if block == "block_avg" else block
            none, joules = [None] * len(opponents), [saved if name == like else None for name in opponents]
            rows.append((PAPER, level, "", None, "", named, None, None, "modelled", None, *none, *joules))
    return rows
