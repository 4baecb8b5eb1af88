"""The answer of a study: what TBFT reaches and saves against its strongest opponent, from the records."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tbft.study.reporting.costs import CPU_SECONDS, JOULES, Cost, saving
from tbft.study.reporting.intervals import Estimate, paired_interval
from tbft.study.reporting.pairs import Column, at, common_pairs, differences, per_seed
from tbft.study.reporting.results import (
    AUTO,
    TBFT,
    Results,
    Setting,
    accuracy_of_base,
    accuracy_on_test,
    process_cpu_seconds,
    process_joules,
)

Spent = Literal["energy", "processor time"]

PROCESS_JOULES = Cost(process_joules, of_machine=True)
PROCESS_CPU_SECONDS = Cost(process_cpu_seconds, of_machine=False)
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


def choose_cost(results: Results) -> Spent:
    """Choose what to tell savings of: energy, unless joules are missing or other programs are in them somewhere."""
    for setting in results.largest():
        ours, opponents = _ours(results, setting), results.opponents(setting)
        if ours and opponents:
            saved = saving(results, setting, ours, opponents[0], JOULES)
            if saved is None or saved.mark:
                return "processor time"
    return "energy"


def find(results: Results, spent: Spent) -> list[Finding]:
    """Compare our adaptation with the strongest full fine-tuning, at the largest training size of each setting.

    Args:
        results: The completed records.
        spent: What is saved.

    Returns:
        One for each setting in which ours ran; where `auto` did, that is ours.
    """
    found = (_finding(results, setting, spent) for setting in results.largest())
    return [finding for finding in found if finding]


def _ours(results: Results, setting: Setting) -> str | None:
    return AUTO if results.runs(setting, AUTO) else results.target(setting)


def _finding(results: Results, setting: Setting, spent: Spent) -> Finding | None:
    series = _ours(results, setting)
    if series is None:
        return None
    ours = AUTO if series == AUTO else TBFT
    before: Column = results.by_pair(setting, series, accuracy_of_base)
    after: Column = results.by_pair(setting, series, accuracy_on_test)
    opponents: Sequence[str] = results.opponents(setting)
    if not opponents:
        return Finding(setting, ours, _mean(before), _mean(after) or 0.0)
    opponent = opponents[0]
    theirs = results.by_pair(setting, opponent, accuracy_on_test)
    shared = common_pairs([after, theirs])
    before, after = at(shared, before), at(shared, after)
    points = paired_interval([100 * value for value in per_seed(at(shared, differences(after, theirs)))])
    saved, of_process = (
        saving(results, setting, series, opponent, costs[spent], shared) for costs in (ADAPTATION_COSTS, PROCESS_COSTS)
    )
    return Finding(setting, ours, _mean(before), _mean(after) or 0.0, opponent, points, saved, of_process)


def _mean(column: Column) -> float | None:
    """Mean over seeds in %; of a seed, over its drifts."""
    values = per_seed(column)
    return 100 * statistics.fmean(values) if values else None
