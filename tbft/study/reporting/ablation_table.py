"""The ablation table: a level's recipe against the same recipe without one of its ideas."""

from tbft.study.reporting.costs import CPU_SECONDS, JOULES, cost_of, saving
from tbft.study.reporting.intervals import clustered_interval
from tbft.study.reporting.pairs import at, basis_of, clusters_of, common_pairs, differences
from tbft.study.reporting.provenance import provenance_notes
from tbft.study.reporting.results import Results, Setting, accuracy_on_test
from tbft.study.reporting.table import OURS, Table, Value
from tbft.study.reporting.table_parts import HEAD, INTERVAL_NOTE, cost_notes, head, percent_of

WITHOUT = "without "
"""Beginning of the name of a strategy that leaves one idea out of the level's recipe; the rest names the idea."""

COLUMNS = (
    *HEAD,
    "recipe",
    "CPU s",
    "CPU s that the idea saves %",
    "joules that the idea saves %",
    "points that the idea brings",
    "interval over",
    "pairs",
)


def without_ablation(results: Results) -> Results:
    """Return the records without ablated recipes, for the other tables."""
    return Results(record for record in results.records if not record.series.startswith(WITHOUT))


def ablation_table(results: Results) -> Table:
    """Make the table of each idea: cost of the recipe without it, what it saves of that, and its gain in accuracy."""
    rows: list[tuple[Value, ...]] = []
    for setting in results.settings():
        target = results.target(setting)
        ablated = [name for name in results.series(setting) if name.startswith(WITHOUT)]
        if target is None or not ablated:
            continue
        whole = cost_of(results, setting, target, CPU_SECONDS)
        rows.append((OURS, *head(setting), f"{target}, with all ideas", whole, None, None, None, "", None))
        rows += [_row(results, setting, target, name) for name in ablated]
    return Table(
        "ablation",
        "What each idea saves of a whole adaptation, and brings in test accuracy: the recipe against itself without it",
        COLUMNS,
        tuple(rows),
        (
            "CPU s: median over drifts and seeds. Saved: geometric mean over pairs of runs with the same drift and "
            "seed, as a part of what the recipe without the idea costs; below 0 the idea costs. Points: accuracy of "
            "the recipe less that of the recipe without the idea.",
            "Ideas overlap, so that their savings do not add up.",
            INTERVAL_NOTE,
            *provenance_notes(results.records),
            *cost_notes(results.records),
        ),
    )


def _row(results: Results, setting: Setting, target: str, without: str) -> tuple[Value, ...]:
    ours, theirs = (results.by_pair(setting, name, accuracy_on_test) for name in (target, without))
    shared = common_pairs([ours, theirs])
    points = clustered_interval(percent_of(clusters_of(at(shared, differences(ours, theirs)))))
    saved = (saving(results, setting, target, without, cost, shared) for cost in (CPU_SECONDS, JOULES))
    cost = cost_of(results, setting, without, CPU_SECONDS)
    return (OURS, *head(setting), without, cost, *saved, points, basis_of(shared), len(shared))
