"""The answer of a study: the accuracy and the savings of TBFT against its strongest opponent, from the records."""

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
    """Result of our adaptation in one setting, compared with the strongest opponent.

    Attributes:
        setting: The setting.
        ours: `TBFT`, or `auto` where the sample decides.
        before: Test accuracy of the base model in %; None if it is not known.
        after: Test accuracy after the adaptation in %.
        opponent: The strongest full fine-tuning that ran in the setting; None if none did.
        points: Accuracy less the opponent's in points, with its interval; None without an opponent or common runs.
        saved: Part of the opponent's cost of the adaptation that is saved, in %, with its interval; None if a cost is
            not known.
        saved_of_process: Part of the opponent's cost of the whole process that is saved, in %; None if a cost is not
            known.
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
    """Choose the settings for the answer: those with the most labelled images, on drifts on which nothing was tuned.

    A setting is left out if another one differs from it only by more images. Drifts for development are left out if
    there are held-out ones of the same level and data set.
    """
    largest = {(setting.level, setting.dataset, setting.variant): setting for setting in results.settings()}
    held_out = {(level, dataset) for level, dataset, variant in largest if HELD_OUT in variant}
    return [
        setting
        for (level, dataset, variant), setting in largest.items()
        if DEVELOPMENT not in variant or (level, dataset) not in held_out
    ]


def choose_cost(results: Results) -> Spent:
    """Choose the cost to report savings of: energy, unless joules are missing or include other programs' somewhere."""
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
        spent: The cost of which savings are computed.

    Returns:
        One finding for each setting of the answer in which our adaptation ran; that is `auto` if it ran there, else the
        level's own recipe or block.
    """
    found = (_finding(results, setting, spent) for setting in settings_to_tell(results))
    return [finding for finding in found if finding]


def _ours(results: Results, setting: Setting) -> str | None:
    return ADAPTIVE if results.runs(setting, ADAPTIVE) else results.target(setting)


def _strongest(results: Results, setting: Setting) -> str | None:
    """Return the strongest full fine-tuning, preferably in our number format, so that only the method differs."""
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
    """Return the mean over seeds in %, where each seed is the mean over its drifts; None without values."""
    values = per_seed(column)
    return 100 * statistics.fmean(values) if values else None
