"""Tables on the diagnosis: which drifts are found, what happens without a drift, and how runs without labels do."""

import statistics
from collections.abc import Sequence

from tbft.study.reporting.hindsight_cells import KINDS, Cell, Cells, known
from tbft.study.reporting.record import Record
from tbft.study.reporting.table import Table, Value
from tbft.study.reporting.table_parts import percent

WORSE = 0.01
"""An adaptation counts as harm if its accuracy, a fraction of 1, is more than this below the base model's."""

Levels = frozenset[str]


def f1_by_level(found: Sequence[tuple[Levels, Levels]]) -> dict[str, float]:
    """Return the F1 of each level over runs, the harmonic mean of precision and recall.

    Args:
        found: The true and the diagnosed levels of each run.

    Returns:
        F1 by level, without levels that neither drifted nor were diagnosed in any run.
    """
    scores = {}
    for level in KINDS:
        hits = sum(level in true and level in told for true, told in found)
        misses = sum((level in true) != (level in told) for true, told in found)
        if hits or misses:
            scores[level] = 2 * hits / (2 * hits + misses)
    return scores


def diagnosis_table(cells: Cells) -> Table:
    """Make the table of how well runs with labels diagnose the drift, and whether they do harm without a drift."""
    rows: list[tuple[Value, ...]] = []
    for (part, images), own in cells.grouped(lambda cell: (cell.part, cell.images)):
        told = [
            (levels, record)
            for cell in own
            for record in cells.climbs(cell, labelled=True)
            if (levels := cells.levels(cell.drift)) is not None
        ]
        if not told:
            continue
        sets = [(levels, record.climbed.diagnosed) for levels, record in told if record.climbed]
        scores = f1_by_level(sets)
        still = [record for levels, record in told if not levels]
        exact = _share([true == said for true, said in sets])
        macro = statistics.fmean(scores.values()) if scores else None
        untouched = _share([record.climbed.untouched for record in still if record.climbed])
        harmed = _share([_is_worse(record) for record in still])
        figures = (macro, *(scores.get(level) for level in KINDS), exact)
        rows.append((part, images, *figures, len(sets), untouched, harmed, len(still)))
    return Table(
        "diagnosis",
        "What drifted, as the sample told (with labels), and what was done where nothing had",
        (
            *("part", "images", "macro-F1", *(f"F1 {level}" for level in KINDS), "same set %", "runs"),
            *("no drift: untouched %", "no drift: more than 1 point lost %", "runs without drift"),
        ),
        tuple(rows),
        ("Macro-F1 is the mean of the F1 of the levels that drifted or were diagnosed in any run of the row.",),
    )


def label_free_table(cells: Cells) -> Table:
    """Make the table of runs without labels: the error of the estimated accuracy, and whether they do harm."""
    rows: list[tuple[Value, ...]] = []
    of_kind = cells.grouped(lambda cell: (cell.part, cells.kind(cell.drift), cell.images))
    of_all = cells.grouped(lambda cell: (cell.part, "all", cell.images))
    for key, own in (*of_kind, *of_all):
        pairs = [(cell, record) for cell in own for record in cells.climbs(cell, labelled=False)]
        if pairs:
            rows.append((*key, *_label_free(cells, pairs), len(pairs)))
    return Table(
        "label_free",
        "Without labels: accuracy, error of the estimated accuracy (points), and harm",
        (
            *("part", "level", "images", "base %", "accuracy %", "over tuned-full with labels"),
            *("error of estimate, base", "error of estimate, kept", "more than 1 point below the base %", "runs"),
        ),
        tuple(rows),
        (
            "Errors are mean absolute differences between the accuracy that was estimated without labels and that on "
            "the test images. Tuned-full is the better of its recipes with as many labelled images, in the cells that "
            "have it.",
        ),
    )


def _label_free(cells: Cells, pairs: Sequence[tuple[Cell, Record]]) -> tuple[Value, ...]:
    records = [record for _, record in pairs]
    over = [record.accuracy["test"] - full for cell, record in pairs if (full := cells.better_full(cell)) is not None]
    errors: dict[str, list[float]] = {"base": [], "kept": []}
    for record in records:
        assert record.climbed is not None
        true = {"base": record.accuracy.get("base"), "kept": record.accuracy["test"]}
        said = {"base": record.climbed.estimated, "kept": record.climbed.estimated_after}
        for name in errors:
            estimate, accuracy = said[name], true[name]
            errors[name] += [abs(estimate - accuracy)] if estimate is not None and accuracy is not None else []
    return (
        _mean(percent(known(record.accuracy.get("base") for record in records))),
        _mean(percent(record.accuracy["test"] for record in records)),
        _mean(percent(over)),
        _mean(percent(errors["base"])),
        _mean(percent(errors["kept"])),
        _share([_is_worse(record) for record in records]),
    )


def _is_worse(record: Record) -> bool:
    return "base" in record.accuracy and record.accuracy["base"] - record.accuracy["test"] > WORSE


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _share(told: Sequence[bool]) -> float | None:
    return 100 * sum(told) / len(told) if told else None
