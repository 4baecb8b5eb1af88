"""The table of accuracy after weight noise on one block, by the block that is tuned (the paper's motivation)."""

from tbft.study.reporting.intervals import mean_sd
from tbft.study.reporting.pairs import per_seed
from tbft.study.reporting.paper import paper_figures
from tbft.study.reporting.results import FULL_FINE_TUNINGS, SINGLE_BLOCKS, Results, setting_of
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import paper_notes

AXIS = "model.noise_block"


def without_noise(results: Results) -> Results:
    """Return the records without weight noise; with noise, the drift level does not decide which block to tune."""
    return Results(record for record in results.records if AXIS not in record.labels)


def noised_blocks_table(results: Results) -> Table:
    """Make the table of accuracy in % by the block that is tuned (rows) and the block with weight noise (columns).

    It is empty unless the study has an axis `model.noise_block`.
    """
    settings: dict[str, set] = {}
    for record in results.records:
        if AXIS in record.labels:
            settings.setdefault(record.labels[AXIS], set()).add(setting_of(record))
    noised = [block for block in SINGLE_BLOCKS if block in settings]
    rows: list[tuple[Value, ...]] = []
    paper = paper_figures()["noised_blocks"]
    for tuned in (*SINGLE_BLOCKS, *FULL_FINE_TUNINGS) if noised else ():
        values = [
            mean_sd(
                [
                    100 * value
                    for s in sorted(settings[block], key=str)
                    for value in per_seed(results.accuracies(s).get(results.single_blocks(s).get(tuned, tuned), {}))
                ]
            )
            for block in noised
        ]
        if any(values):
            rows.append((OURS, tuned, *values))
            named = "full" if tuned in FULL_FINE_TUNINGS else tuned
            row = paper.get(named)
            rows += [(PAPER, named, *(row.get(block) for block in noised))] if row else []
    return Table(
        "noised_blocks",
        "Test accuracy (%) after weight noise on one block (columns), by the block tuned (rows)",
        ("figures", "tuned", *(f"noise on {block}" for block in noised)),
        tuple(rows),
        tuple(paper_notes(rows)),
    )
