"""TBFT against full fine-tuning: accuracy, and savings of CPU time, energy and memory."""

import statistics
from collections.abc import Sequence

from tbft.schema import LEVELS
from tbft.study.reporting.costs import CPU_SECONDS, JOULES, saving
from tbft.study.reporting.intervals import Estimate, mean_sd, median, paired_interval
from tbft.study.reporting.pairs import at, common_pairs, differences, per_seed, ratios
from tbft.study.reporting.paper import paper_block, paper_figures
from tbft.study.reporting.results import Results, Setting, accuracy_on_test, level_mean, peak_memory
from tbft.study.reporting.table import OURS, PAPER, Table, Value
from tbft.study.reporting.table_parts import HEAD, cost_notes, energy_kind, head, paper_notes, percent

COLUMNS = (
    *HEAD,
    "TBFT",
    "against",
    "TBFT %",
    "its %",
    "points",
    "CPU s saved %",
    "joules saved %",
    "energy is",
    "memory ratio",
    "pairs",
    "pairs of joules",
)
AVERAGED = [COLUMNS.index(name) for name in ("points", "CPU s saved %", "joules saved %")]  # over levels


def savings_table(results: Results) -> Table:
    """Accuracy of TBFT and of each full fine-tuning; CPU time, energy and memory saved, in pairs of runs."""
    rows: list[tuple[Value, ...]] = []
    settings = [setting for setting in results.settings() if results.target(setting) and results.opponents(setting)]
    for index, setting in enumerate(settings):
        target = results.target(setting) or ""
        rows += [_row(results, setting, target, opponent) for opponent in results.opponents(setting)]
        if setting.level not in [later.level for later in settings[index + 1 :]]:
            rows += _paper_row(setting.level)
    if all(row[-1] in (None, row[-2]) for row in rows):
        rows = [(*row[:-1], None) for row in rows]  # the same numbers as in the column before
    rows += _means(rows)
    return Table(
        "savings",
        "TBFT against full fine-tuning: test accuracy, and savings of the whole adaptation",
        COLUMNS,
        tuple(rows),
        (
            "Accuracy: mean ± standard deviation over seeds; points: mean difference over seeds; savings: geometric "
            "mean over pairs of runs with the same drift and seed; memory ratio: their median.",
            "[low, high]: 95 % confidence interval (Student's t; of the logarithms of cost ratios for savings), where "
            "there are two seeds or pairs.",
            *(f"{note} Its savings are of one training step." for note in paper_notes(rows)),
            *cost_notes(results.records),
        ),
    )


def _row(results: Results, setting: Setting, target: str, opponent: str) -> tuple[Value, ...]:
    ours, theirs = (results.by_pair(setting, name, accuracy_on_test) for name in (target, opponent))
    shared = common_pairs([ours, theirs])
    accuracies = (mean_sd(percent(per_seed(at(shared, column)))) for column in (ours, theirs))
    points = paired_interval(percent(per_seed(at(shared, differences(ours, theirs)))))
    cpu, joules = (saving(results, setting, target, opponent, cost, shared) for cost in (CPU_SECONDS, JOULES))
    kind = energy_kind(results.runs(setting, target) + results.runs(setting, opponent))
    memory = median(ratios(*(at(shared, results.by_pair(setting, name, peak_memory)) for name in (target, opponent))))
    pairs = (len(shared), joules.n if joules else None)
    return (OURS, *head(setting), target, opponent, *accuracies, points, cpu, joules, kind, memory, *pairs)


def _paper_row(level: str) -> list[tuple[Value, ...]]:
    """The paper's saving by the level's own block."""
    paper = paper_figures()["saving"].get(level)
    return [_paper(level, "block", paper[paper_block(level)])] if paper else []


def _means(rows: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Mean over the levels against each opponent, where there are several; the paper's own means below."""
    means: list[tuple[Value, ...]] = []
    levels = {str(row[1]) for row in rows if row[0] == OURS}
    for opponent in dict.fromkeys(row[6] for row in rows if row[0] == OURS):
        ours = [row for row in rows if row[0] == OURS and row[6] == opponent]
        if {row[1] for row in ours} != levels or len(levels) < 2 or any(row[4] for row in ours):
            continue
        figures = [_level_mean([(str(row[1]), row[index]) for row in ours]) for index in AVERAGED]
        means.append((OURS, "all", "", None, "", "mean", opponent, None, None, *figures, "", None, None, None))
    if means:
        paper = paper_figures()
        own = [paper["saving"][level][paper_block(level)] for level in LEVELS if level in levels]
        means.append(_paper("all", "mean", statistics.fmean(own)))
        means.append(_paper("all", "Block Avg", paper["headline"]["energy_saving_vs_full"]))
    return means


def _level_mean(values: Sequence[tuple[str, Value]]) -> Estimate | None:
    known = [(level, value) for level, value in values if isinstance(value, Estimate)]
    mean = level_mean((level, estimate.value) for level, estimate in known)
    if mean is None:
        return None
    return Estimate(mean, signed=known[0][1].signed, mark=max(estimate.mark for _, estimate in known))


def _paper(level: str, tuned: str, joules: float) -> tuple[Value, ...]:
    return (PAPER, level, "", None, "", tuned, "full", None, None, None, None, joules, "modelled", None, None, None)
