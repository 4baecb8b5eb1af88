"""The answer of a study: what TBFT reaches and saves against its strongest opponent, from the records."""

import statistics
from dataclasses import dataclass
from typing import Literal

from tbft.schema import DEVELOPMENT, HELD_OUT
from tbft.study.reporting.costs import CPU_SECONDS, JOULES, PROCESS_CPU_SECONDS, PROCESS_JOULES, Cost, saving
from tbft.study.reporting.intervals import Estimate, clustered_interval
from tbft.study.reporting.pairs import Column, at, clusters_of, common_pairs, differences, per_seed
from tbft.study.reporting.results import (
    ADAPTIVE,
    AMP,
    TBFT,
    Results,
    Setting,
    accuracy_of_base,
    accuracy_on_test,
)
from tbft.study.reporting.table_parts import percent_of

Spent = Literal["energy", "processor time"]

ADAPTATION_COSTS: dict[Spent, Cost] = {"energy": JOULES, "processor time": CPU_SECONDS}
PROCESS_COSTS: dict[Spent, Cost] = {"energy": PROCESS_JOULES, "processor time": PROCESS_CPU_SECONDS}


@dataclass(frozen=True)
class Finding:
    """What an adaptation comes to in one setting, beside the strongest opponent.

    Attributes:
        setting: Where.
        ours: `TBFT`, or `auto` where the sample decides.
        before: Accuracy of the base model in %; None where it is not known.
        after: Accuracy after the adaptation in %.
        opponent: The strongest full fine-tuning that ran there; None if none did.
        points: Accuracy above the opponent's in points, with its interval.
        saved: Part of the opponent's cost that is saved, in %, with its interval; None where a cost is not known.
        saved_of_process: The same of the whole process.
    """

    setting: Setting
    ours: str
    before: float | None
    after: float
    opponent: str | None = None
    points: Estimate | None = None
    saved: Estimate | None = None
    saved_of_process: Estimate | None = None


def settings_to_tell(results: Results) -> list[Setting]:
    """Choose what a page leads with: the most labelled images, and drifts on which nothing was tuned.

    Settings that differ in nothing else from one with more images are left out, and so are drifts for development
    beside held-out ones of the same level and data set.
    """
    largest = {(setting.level, setting.dataset, setting.variant): setting for setting in results.settings()}
    held_out = {(level, dataset) for level, dataset, variant in largest if HELD_OUT in variant}
    return [
        setting
        for (level, dataset, variant), setting in largest.items()
        if DEVELOPMENT not in variant or (level, dataset) not in held_out
    ]


def choose_cost(results: Results) -> Spent:
    """Choose what to tell savings of: energy, unless joules are missing or other programs are in them somewhere."""
    for setting in settings_to_tell(results):
        ours, opponent = _ours(results, setting), _strongest(results, setting)
        if ours and opponent:
            saved = saving(results, setting, ours, opponent, JOULES)
            if saved is None or saved.mark:
                return "processor time"
    return "energy"


def find(results: Results, spent: Spent) -> list[Finding]:
    """Compare our adaptation with the strongest full fine-tuning.

    Args:
        results: The completed records.
        spent: What is saved.

    Returns:
        One for each setting to tell in which ours ran; where `auto` did, that is ours.
    """
    found = (_finding(results, setting, spent) for setting in settings_to_tell(results))
    return [finding for finding in found if finding]


def _ours(results: Results, setting: Setting) -> str | None:
    return ADAPTIVE if results.runs(setting, ADAPTIVE) else results.target(setting)


def _strongest(results: Results, setting: Setting) -> str | None:
    """The strongest full fine-tuning, in our number format where that ran: what differs is then the method."""
    opponents = results.opponents(setting)
    return next((name for name in opponents if name.endswith(AMP)), opponents[0]) if opponents else None


def _finding(results: Results, setting: Setting, spent: Spent) -> Finding | None:
    series = _ours(results, setting)
    if series is None:
        return None
    ours = ADAPTIVE if series == ADAPTIVE else TBFT
    before: Column = results.by_pair(setting, series, accuracy_of_base)
    after: Column = results.by_pair(setting, series, accuracy_on_test)
    opponent = _strongest(results, setting)
    if opponent is None:
        return Finding(setting, ours, _mean(before), _mean(after) or 0.0)
    theirs = results.by_pair(setting, opponent, accuracy_on_test)
    shared = common_pairs([after, theirs])
    before, after = at(shared, before), at(shared, after)
    points = clustered_interval(percent_of(clusters_of(at(shared, differences(after, theirs)))))
    saved, of_process = (
        saving(results, setting, series, opponent, costs[spent], shared) for costs in (ADAPTATION_COSTS, PROCESS_COSTS)
    )
    return Finding(setting, ours, _mean(before), _mean(after) or 0.0, opponent, points, saved, of_process)


def _mean(column: Column) -> float | None:
    """Mean over seeds in %; of a seed, over its drifts."""
    values = per_seed(column)
    return 100 * statistics.fmean(values) if values else None
