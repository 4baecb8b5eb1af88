"""Tables of accuracy, regret and cost by strategy, for studies in which nobody names the drift."""

import statistics

import numpy as np

from tbft.study.reporting.diagnosis_tables import diagnosis_table, label_free_table
from tbft.study.reporting.hindsight_cells import ALWAYS, Cells, known
from tbft.study.reporting.intervals import Estimate, mean_sd
from tbft.study.reporting.results import Results
from tbft.study.reporting.table import Table, Value
from tbft.study.reporting.table_parts import counts, percent

REGRET_NOTE = (
    "The best in hindsight is that of all strategies and of all combinations of the remedies without gradients, chosen "
    "with the test labels cell by cell (a drift, a number of images and a seed)."
)


def regret_tables(results: Results) -> list[Table]:
    """Make the tables of a study in which climbs measured the test accuracy of what they tried; empty for any other.

    Args:
        results: The completed records.
    """
    cells = Cells(results)
    return [
        drift_table(cells),
        regret_table(cells),
        share_table(cells),
        diagnosis_table(cells),
        label_free_table(cells),
    ]


def drift_table(cells: Cells) -> Table:
    """Make the table of test accuracy in % by drift, images and strategy: mean and standard deviation over seeds."""
    rows: list[tuple[Value, ...]] = []
    for (part, images, drift), own in cells.grouped(lambda cell: (cell.part, cell.images, cell.drift)):
        accuracies = [percent(known(cells.accuracy(cell, name) for cell in own)) for name in cells.strategies]
        best = mean_sd(percent(cells.best(cell) for cell in own))
        seeds = counts(len(column) for column in accuracies if column)
        rows.append((part, drift, cells.kind(str(drift)), images, *map(mean_sd, accuracies), best, seeds))
    columns = ("part", "drift", "level", "images", *cells.strategies, "best in hindsight", "seeds")
    return Table("drifts", "Test accuracy (%) by drift", columns, tuple(rows), (REGRET_NOTE,))


def regret_table(cells: Cells) -> Table:
    """Make the table of each strategy's regret in points, and its gain over always refreshing and solving the head."""
    rows: list[tuple[Value, ...]] = []
    for (part, images), own in cells.grouped(lambda cell: (cell.part, cell.images)):
        for name in cells.strategies:
            ran = {cell: value for cell in own if (value := cells.accuracy(cell, name)) is not None}
            if not ran:
                continue
            lost = percent(cells.best(cell) - value for cell, value in ran.items())
            always = {cell: cells.accuracy(cell, ALWAYS) for cell in ran}
            gained = percent(ran[cell] - other for cell, other in always.items() if other is not None)
            seconds = known(cells.cpu_seconds(cell, name) for cell in ran)
            over = Estimate(statistics.fmean(gained), n=len(gained), signed=True) if gained else None
            tail = float(np.quantile(lost, 0.95))
            figures = (statistics.fmean(percent(ran.values())), statistics.fmean(lost), tail)
            rows.append((part, images, name, *figures, over, statistics.fmean(seconds) if seconds else None, len(ran)))
    return Table(
        "regret",
        "Regret against the best in hindsight (points of test accuracy)",
        (
            *("part", "images", "strategy", "accuracy %", "mean regret", "95th percentile"),
            *("over always refresh + head", "CPU-seconds", "cells"),
        ),
        tuple(rows),
        (
            REGRET_NOTE,
            "Always refresh + head: refreshed statistics and a solved head from all labels, never falling back to the "
            "base model. Each strategy's row rests on the cells in which it ran.",
        ),
    )


def share_table(cells: Cells) -> Table:
    """Make the table of CPU-seconds in % of tuned full fine-tuning's with the most images, by levels of the drift."""
    full: dict[str, tuple[int, float]] = {}
    for drift in {cell.drift for cell in cells.runs}:
        spent = {cell: cells.full_cpu_seconds(cell) for cell in cells.runs if cell.drift == drift}
        largest = max((cell.images for cell, value in spent.items() if value is not None), default=0)
        if largest:
            values = known(value for cell, value in spent.items() if cell.images == largest)
            full[drift] = largest, statistics.fmean(values)
    strategies = [name for name in cells.strategies if any(cells.cpu_seconds(cell, name) for cell in cells.runs)]
    rows: list[tuple[Value, ...]] = []
    for (part, images, kind), own in cells.grouped(lambda cell: (cell.part, cell.images, cells.kind(cell.drift))):
        drifts = [drift for drift in dict.fromkeys(cell.drift for cell in own) if drift in full]
        if not drifts:
            continue
        shares: list[Value] = []
        for name in strategies:
            found = []
            for drift in drifts:
                seconds = known(cells.cpu_seconds(cell, name) for cell in own if cell.drift == drift)
                found += [100 * statistics.fmean(seconds) / full[drift][1]] if seconds else []
            shares.append(statistics.fmean(found) if found else None)
        spent_by_full = statistics.fmean(full[drift][1] for drift in drifts)
        rows.append((part, kind, images, *shares, spent_by_full, max(full[drift][0] for drift in drifts)))
    return Table(
        "adaptation_share",
        "CPU-seconds of the adaptation (% of tuned full fine-tuning with the most images)",
        ("part", "level", "images", *strategies, "full: CPU-seconds", "full: images"),
        tuple(rows),
        ("Mean over drifts of the ratio of means over seeds.",),
    )
