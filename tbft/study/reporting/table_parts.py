"""Columns and notes that several tables share."""

from collections.abc import Iterable, Sequence

from tbft.study.reporting.costs import DISTURBED
from tbft.study.reporting.paper import paper_figures
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import Setting
from tbft.study.reporting.table import PAPER, Value

HEAD = ("figures", "level", "data set", "size", "variant")
PAPER_NOTE = "Rows marked paper are the paper's own figures (arXiv:2403.15905), of other machines and base models."

UNNAMED = "not named"  # the level of runs for which neither an option nor the data names one
INTERVAL_NOTE = (
    "[low, high]: 95 % confidence interval, Student's t over the means of the drifts where a row has several "
    "(Ibragimov and Mueller 2010), and over the seeds of its one drift where not, which says nothing of other drifts."
)


def paper_notes(rows: Sequence[tuple[Value, ...]]) -> list[str]:
    """Return the note below a table that has rows of the paper; empty if it has none."""
    return [PAPER_NOTE] if any(row[0] == PAPER for row in rows) else []


def head(setting: Setting) -> tuple[Value, ...]:
    """Return the first columns of our own row, behind `figures`."""
    return setting.level or UNNAMED, setting.dataset, setting.train_size, setting.variant


def percent(fractions: Iterable[float]) -> list[float]:
    """Return fractions of 1 as percent."""
    return [100 * fraction for fraction in fractions]


def percent_of(clusters: Iterable[Iterable[float]]) -> list[list[float]]:
    """Return clusters of fractions of 1 as percent."""
    return [percent(cluster) for cluster in clusters]


def counts(numbers: Iterable[int]) -> Value:
    """Return the number of values behind the figures of a row: one number, or the smallest and the largest."""
    found = sorted(set(numbers))
    return (found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}") if found else None


def energy_kind(runs: Sequence[Record]) -> str:
    """Say whether joules come from a sensor or from a model."""
    kinds = {"measured" if run.measured else "modelled" for run in runs if run.joules}
    return " and ".join(sorted(kinds)) if kinds else "unknown"


def paper_sizes(setting: Setting) -> dict[int, dict[str, list[float]]]:
    """Return the paper's accuracies at a setting's level, by training size; empty for a level that it does not have."""
    return paper_figures()["accuracy"].get(setting.level, {}).get("sizes", {})


def paper_head(setting: Setting) -> tuple[Value, ...]:
    """Return the first columns of the paper's row for a setting, behind `figures`."""
    return setting.level, paper_figures()["accuracy"][setting.level]["dataset"], setting.train_size, ""


def cost_notes(records: Iterable[Record]) -> list[str]:
    """Warn about runs whose costs are hard to compare, because other programs ran beside them."""
    records = list(records)
    notes = []
    shared = sum(record.shared_machine for record in records)
    if shared:
        notes.append(f"{shared} of {len(records)} runs shared their machine with other cells: their cost is too high.")
    disturbed = sum(record.disturbed for record in records)
    if disturbed:
        notes.append(
            f"Other programs were at work in {disturbed} of {len(records)} runs, and are in their joules, not in their "
            f"CPU-seconds. Such joules are left out where other runs suffice, and marked {DISTURBED} where not."
        )
    inflated = sum(record.inflated for record in records)
    if inflated:
        notes.append(
            f"In {inflated} of {len(records)} runs several threads waited for one another beside other programs: their "
            f"CPU-seconds are too high, left out where other runs suffice, and marked {DISTURBED} where not (with "
            "--run.threads 1 nothing waits)."
        )
    return notes
