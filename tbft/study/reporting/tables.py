"""All tables of a report; the paper's tables are made from our own records, with the paper's figures beside them."""

import statistics
from collections.abc import Sequence

from tbft.schema import ADAPTATION
from tbft.study.reporting.ablation_table import ablation_table, without_ablation
from tbft.study.reporting.apart import set_apart
from tbft.study.reporting.cost_tables import cost_table, energy_to_accuracy_table
from tbft.study.reporting.improvement_table import improvement_table
from tbft.study.reporting.intervals import Estimate, mean_sd
from tbft.study.reporting.ledger_reading import NOT_RUN, Problem
from tbft.study.reporting.noised_blocks import noised_blocks_table, without_noise
from tbft.study.reporting.pairs import Pair, at, common_pairs, per_seed
from tbft.study.reporting.paper import paper_block
from tbft.study.reporting.regret import regret_tables
from tbft.study.reporting.results import (
    Results,
    Setting,
    accuracy_of_base,
    accuracy_on_test,
    setting_of,
)
from tbft.study.reporting.savings_table import savings_table
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import (
    HEAD,
    counts,
    energy_kind,
    head,
    paper_head,
    paper_notes,
    paper_sizes,
    percent,
)

_LISTED = 5  # most runs still to come that are listed one by one


def all_tables(results: Results, problems: Sequence[Problem] = ()) -> list[Table]:
    """Make every table that the records can fill.

    Args:
        results: The completed records.
        problems: Records that could not be used in full.
    """
    results = set_apart(results)
    noiseless = without_noise(results)
    plain = without_ablation(noiseless)
    made = [
        improvement_table(plain),
        savings_table(plain),
        ablation_table(noiseless),
        accuracy_table(plain),
        noised_blocks_table(results),
        cost_table(plain),
        energy_to_accuracy_table(plain),
        *regret_tables(plain),
        problem_table(problems),
    ]
    return [table for table in made if table.rows]


def accuracy_table(results: Results) -> Table:
    """Make the table of test accuracy in % by strategy, with Block Avg: mean and standard deviation over seeds."""
    names = results.series(*results.settings())
    rows: list[tuple[Value, ...]] = []
    notes = ["Mean ± standard deviation over seeds; each seed is the mean over its drifts."]
    for setting in results.settings():
        columns = results.accuracies(setting)
        shared = common_pairs(columns.values())
        base = [at(shared, results.by_pair(setting, name, accuracy_of_base)) for name in columns]
        known = [value for column in base for value in per_seed(column)]
        unadapted = statistics.fmean(known) * 100 if known else None
        values = [mean_sd(percent(per_seed(columns.get(name, {})))) for name in names]
        average = mean_sd(percent(per_seed(at(shared, results.block_average(setting, accuracy_on_test)))))
        rows.append((OURS, *head(setting), unadapted, *values, average, counts(value.n for value in values if value)))
        rows += _paper_accuracy(setting, names)
        notes += _coverage(results, setting)
        missing = results.missing_blocks(setting)
        if missing:
            notes.append(f"Block Avg of {_name(setting)} waits for {', '.join(missing)}.")
    headings = (*HEAD, "base", *names, "Block Avg", "seeds")
    notes += paper_notes(rows)
    return Table("accuracy", "Test accuracy (%)", headings, tuple(rows), tuple(dict.fromkeys(notes)))


def problem_table(problems: Sequence[Problem]) -> Table:
    """Make the table of runs that are missing from the other tables, or whose cost is missing."""
    waiting = [problem for problem in problems if problem.kind == NOT_RUN]
    rows: list[tuple[Value, ...]] = [(problem.key, problem.kind, problem.reason) for problem in problems]
    if len(waiting) > _LISTED:
        rows = [row for row in rows if row[1] != NOT_RUN]
        rows.append((f"{waiting[0].key} and {len(waiting) - 1} others", NOT_RUN, waiting[0].reason))
    return Table("problems", "Runs that could not be used in full", ("run", "state", "reason"), tuple(rows))


def records_table(results: Results) -> Table:
    """Make the table of every completed run as a row of plain figures, for a spreadsheet or W&B."""
    phases = (*ADAPTATION, "adaptation", "test")
    rows = tuple(
        (
            record.key,
            *head(setting_of(record)),
            record.drift,
            record.series,
            record.seed,
            *(record.accuracy.get(name) for name in ("base", "validation", "test")),
            *(record.joules.get(phase) for phase in phases),
            *(record.cpu_seconds.get(phase) for phase in phases),
            *(record.process.get(name) for name in ("joules", "cpu_seconds")),
            record.wall_seconds.get("adaptation"),
            record.peak_rss_mib,
            energy_kind([record]),
            record.void,
            "yes" if record.shared_machine else "no",
            record.machine,
            record.instructions,
            record.number_format,
            record.threads,
            record.revision,
            record.part,
        )
        for record in results.records
    )
    columns = (
        *("run", *HEAD[1:], "drift", "strategy", "seed"),
        *("base accuracy", "validation accuracy", "test accuracy"),
        *(f"{phase} joules" for phase in phases),
        *(f"{phase} CPU seconds" for phase in phases),
        *("process joules", "process CPU seconds"),
        *("adaptation wall seconds", "peak RSS MiB", "energy is", "void", "shared machine", "machine"),
        *("instructions", "number format", "threads", "revision", "part"),
    )
    return Table("records", "Runs", columns, rows)


def _paper_accuracy(setting: Setting, names: Sequence[str]) -> list[tuple[Value, ...]]:
    """Make the paper's row of the same level and size; its full fine-tuning stands in the column most similar to it."""
    paper = paper_sizes(setting).get(setting.train_size)
    if paper is None:
        return []
    full = next((name for name in ("paper-full", "full", "tuned-full") if name in names), "")
    renamed = {"block": paper_block(setting.level), full: "full"}
    values = [_pair(paper.get(renamed.get(name, name))) for name in names]
    return [(PAPER, *paper_head(setting), None, *values, _pair(paper["block_avg"]), None)]


def _pair(mean_and_sd: Sequence[float] | None) -> Estimate | None:
    return Estimate(mean_and_sd[0], sd=mean_and_sd[1]) if mean_and_sd else None


def _coverage(results: Results, setting: Setting) -> list[str]:
    """Say how many drifts and seeds a row is computed from, if these are not all that ran."""
    found = {name: results.by_pair(setting, name, accuracy_on_test) for name in results.series(setting)}
    shared, ran = common_pairs(found.values()), set[Pair]().union(*found.values())
    if shared == ran:
        return []
    if not shared:
        return [f"{_name(setting)}: its strategies share no drift and seed yet, so each column rests on its own."]
    fewest = min(found, key=lambda name: len(found[name]))
    drifts, seeds = ({pair.drift for pair in shared}, {pair.seed for pair in shared})
    return [
        f"{_name(setting)}: rests on {len(drifts)} of {len({pair.drift for pair in ran})} drifts and {len(seeds)} of "
        f"{len({pair.seed for pair in ran})} seeds, those that every strategy has ({fewest} has fewest)."
    ]


def _name(setting: Setting) -> str:
    return " ".join(str(part) for part in head(setting) if part)
